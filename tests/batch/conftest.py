"""What the tests of this folder share."""

from fixtures.slurm_here import env, run, slurm  # noqa: F401
