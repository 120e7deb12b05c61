"""What GPUs, hosts, processes and engines did while a load was measured. Reports, never gates."""
