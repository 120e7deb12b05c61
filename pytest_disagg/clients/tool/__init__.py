"""What all load generators have in common that are programs of their own."""
