"""Engine ``sim``: real HTTP servers whose timing comes from a stated model."""
