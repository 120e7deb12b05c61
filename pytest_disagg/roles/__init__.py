"""The stages of a run, as each role plays them."""
