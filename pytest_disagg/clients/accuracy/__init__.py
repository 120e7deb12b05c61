"""Accuracy tasks: ``lm_eval`` against a running deployment."""
