"""A model folder with all that a load generator reads of it: a tokenizer of 32 000 words, and no weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

WORDS = 32_000


def make_model(folder: Path) -> Path:
    """Make ``folder``; every token is one word, so that text and token ids have the same length."""
    folder.mkdir(parents=True)
    vocabulary = {"[UNK]": 0, "tok": 1} | {f"w{number}": number for number in range(2, WORDS)}
    tokenizer: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    }
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": WORDS,
        "hidden_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 64,
    }
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    for name, document in (("tokenizer", tokenizer), ("config", config), ("tokenizer_config", said)):
        (folder / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    return folder
