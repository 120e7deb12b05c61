"""Starting and ending processes so that none is left over. Standard library only."""
