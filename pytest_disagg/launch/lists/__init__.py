"""Test lists: which cases one command runs, and how each is marked. Reads files; starts nothing."""
