"""What a machine is like before the load: its GPUs as nvidia-smi reports them, who uses them, how busy its CPUs are."""
