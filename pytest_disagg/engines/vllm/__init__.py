"""vLLM: ``vllm serve`` servers behind ``vllm-router``, or behind a proxy script."""
