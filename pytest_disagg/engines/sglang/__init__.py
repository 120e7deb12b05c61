"""SGLang: ``sglang.launch_server`` servers behind ``sglang-router``."""
