"""Makes the model folder that a Dynamo mocker needs: a tokenizer and a configuration, no weights.

``python tests/dynamo/make_model.py DIR`` writes it as ``DIR/tiny``, where ``--disagg-models-root=DIR`` finds the model
``tiny``. Standard library only.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

NAME = "tiny"
VOCABULARY = 32_000
"""Token ids of prompts go up to this. With few entries most of a mocker's answer has no text at all."""
UNKNOWN, BEGIN, END = "<unk>", "<s>", "</s>"


def make_model(models_root: Path) -> Path:
    """Write the folder; returns its path. A word is a token, whatever word it is."""
    folder = models_root / NAME
    folder.mkdir(parents=True, exist_ok=True)
    for name, document in _files().items():
        (folder / name).write_text(json.dumps(document), encoding="utf-8")
    return folder


def _files() -> dict[str, dict[str, Any]]:
    ends = {"bos_token_id": 1, "eos_token_id": 2}
    return {
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": UNKNOWN,
            "bos_token": BEGIN,
            "eos_token": END,
            "chat_template": "{% for message in messages %}{{ message['content'] }} {% endfor %}",
        },
        "config.json": {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": VOCABULARY,
            "hidden_size": 256,
            "intermediate_size": 512,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 4,
            "max_position_embeddings": 32_768,
            "torch_dtype": "bfloat16",
            **ends,
        },
        "generation_config.json": ends,
    }


def _tokenizer() -> dict[str, Any]:
    words = [UNKNOWN, BEGIN, END, *(f"w{number}" for number in range(3, VOCABULARY))]
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, "content": words[number], **added} for number in range(3)],
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: number for number, word in enumerate(words)},
            "unk_token": UNKNOWN,
        },
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python tests/dynamo/make_model.py DIR")
    print(make_model(Path(sys.argv[1])))
