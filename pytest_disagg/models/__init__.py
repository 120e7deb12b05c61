"""Fetching a model that is not there: a program of its own, so that its threads and connections are in no role."""
