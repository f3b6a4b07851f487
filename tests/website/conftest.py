"""What the tests of this folder share."""

from fixtures.slurm_here import slurm  # noqa: F401
