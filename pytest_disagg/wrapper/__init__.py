"""slurm_run and slurm_install: run on nodes before anything is installed. Standard library only, Python 3.8 syntax."""
