"""The launch script of TensorRT-LLM's perf pipeline, from the same inputs: ``disagg submit`` in its compatible form."""
