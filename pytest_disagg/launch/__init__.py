"""How roles get started: by command line, never by import."""
