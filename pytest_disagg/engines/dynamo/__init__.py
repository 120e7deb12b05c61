"""Dynamo: ``python -m dynamo.<backend>`` workers behind ``python -m dynamo.frontend``."""
