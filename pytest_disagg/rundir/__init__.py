"""The run directory: the one channel between the roles of a run."""
