"""The posting service that TensorRT-LLM's perf-sanity results go to."""
