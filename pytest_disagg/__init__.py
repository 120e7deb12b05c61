"""Performance tests of disaggregated LLM serving as a pytest plugin.

Importing this package imports nothing: a pytest start that runs no case of ours must not pay for it.
"""
