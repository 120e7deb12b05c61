"""A run once more, from its manifest alone: found, made, compared with what is here, started."""
