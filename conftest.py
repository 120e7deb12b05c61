"""Loads the plugin in a checkout that is not installed; nothing else."""

pytest_plugins = ["pytest_disagg.plugin"]
