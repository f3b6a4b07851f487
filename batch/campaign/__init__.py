"""A campaign: the notebooks as a chain of jobs, on this machine or a Slurm cluster."""
