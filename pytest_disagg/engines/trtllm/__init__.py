"""TensorRT-LLM: ``trtllm-serve`` servers behind ``trtllm-serve disaggregated``."""
