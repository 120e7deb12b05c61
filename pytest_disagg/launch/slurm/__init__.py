"""A run as one Slurm job: its script, its submission, waiting for it, and what Slurm itself knows about its ending."""
