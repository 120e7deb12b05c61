"""Reports of runs: one HTML page, one PDF with the same figures, comparisons of two sets of results."""
