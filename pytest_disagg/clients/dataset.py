"""Prompts for a load: random token ids, random words, or a file of JSON lines. The same seed gives the same prompts.

Random ids follow TensorRT-LLM's ``benchmark_serving --random-ids --tokenize-on-client``: prompt ``i`` is the run of
``(offset_i + i + k) mod vocab`` and lengths are uniform in [len*(1-r), len*(1+r)]. Files have the form of its dataset
``trtllm_custom``. Three of its habits are left out: two prompts never begin with the same id while the vocabulary has
one left (a prefix cache would answer the second), a system message is told from the user's by its role, not by its
place, and a file shorter than the load is used again from its start and noted, instead of a smaller load in silence.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_disagg.errors import ConfigError, Problem

VOCAB = 32000
"""Token ids are below this: the client has no tokenizer, and served models rarely have a smaller vocabulary."""

_WORD_LIST = (
    "the of and to in is was for on that with as by at from it his an are be this which or had not but has have one "
    "were their you all her would there been if we more when who will no out so said what up its about than into them "
    "can only other time new some could these two may first then do any like my now over such our man me even most"
)
WORDS: tuple[str, ...] = tuple(_WORD_LIST.split())
"""Short words that common tokenizers hold as one token each, for prompts that have to be text."""


@dataclass(frozen=True)
class Prompt:
    """One request's input. ``text`` is None for token ids, which are ``(first + k) mod vocab`` for ``k < tokens``.

    ``tokens`` is 0 where only the server can count them (text). ``output_tokens`` is what is asked for.
    """

    text: str | None
    first: int
    tokens: int
    output_tokens: int


@dataclass(frozen=True)
class PromptSet:
    """The prompts of a load in request order. ``notes`` say what a person should know about how they came about."""

    prompts: tuple[Prompt, ...]
    vocab: int = VOCAB
    notes: tuple[str, ...] = ()


def random_prompts(
    count: int,
    *,
    isl: int,
    osl: int,
    range_ratio: float = 0.0,
    seed: int = 0,
    variant: str = "",
    as_text: bool = False,
    vocab: int = VOCAB,
) -> PromptSet:
    """``count`` random prompts. Lengths depend on ``seed`` alone, contents on ``seed`` and ``variant``.

    A repeat with another ``variant`` asks for the same work with prompts that no cache has seen. With ``as_text``
    prompts are words, about one token each.

    Raises:
        ConfigError: ``isl`` or ``osl`` below 1, or ``range_ratio`` outside [0, 1).
    """
    _check_lengths(isl, osl, range_ratio)
    lengths = random.Random(f"lengths/{seed}")
    sizes = [(_length(lengths, isl, range_ratio), _length(lengths, osl, range_ratio)) for _ in range(count)]
    contents = random.Random(f"contents/{seed}/{variant}")
    if as_text:
        return PromptSet(tuple(Prompt(_words(contents, i, size), 0, 0, out) for i, (size, out) in enumerate(sizes)))
    firsts: list[int] = []
    while len(firsts) < count:
        firsts.extend(contents.sample(range(vocab), min(vocab, count - len(firsts))))
    return PromptSet(
        tuple(Prompt(None, first, size, out) for first, (size, out) in zip(firsts, sizes, strict=True)), vocab
    )


def file_prompts(path: Path, count: int, *, seed: int = 0) -> PromptSet:
    """``count`` prompts of a JSON lines file, shuffled by ``seed``; a short file is gone through again, with a note.

    A line is ``{"input": {"messages": [{"role": "user", "content": TEXT}, ...], "max_tokens": N}}``; the prompt is the
    last message of the user. Blank lines are passed over.

    Raises:
        ConfigError: the file is missing, unreadable or empty, or lines are malformed (all of them are named).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"bytes that are not UTF-8 at offset {error.start}"
        raise ConfigError([Problem(path, None, "dataset_file", str(reason), "a readable file of JSON lines")]) from None
    prompts: list[Prompt] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            prompts.append(_parse_line(line))
        except _BadLine as bad:
            problems.append(Problem(path, number, bad.key, bad.found, bad.expected))
    if not prompts and not problems:
        problems.append(Problem(path, None, "dataset_file", "no line", "at least one JSON line"))
    if problems:
        raise ConfigError(problems)
    random.Random(seed).shuffle(prompts)
    notes: tuple[str, ...] = ()
    if len(prompts) < count:
        notes = (f"dataset {path}: {len(prompts)} prompts for {count} requests, used {count / len(prompts):.1f} times",)
    return PromptSet(tuple(prompts[i % len(prompts)] for i in range(count)), notes=notes)


class _BadLine(Exception):
    def __init__(self, key: str, found: str, expected: str) -> None:
        super().__init__(key)
        self.key, self.found, self.expected = key, found, expected


def _parse_line(line: str) -> Prompt:
    try:
        document: Any = json.loads(line)
    except ValueError as error:
        raise _BadLine("", f"no JSON ({error})", "one JSON object per line") from None
    request = document.get("input") if isinstance(document, dict) else None
    if not isinstance(request, dict):
        raise _BadLine("input", _kind(request), "an object with messages and max_tokens")
    prompt = _user_text(request.get("messages"))
    asked = request.get("max_tokens")
    if not isinstance(asked, int) or isinstance(asked, bool) or asked < 1:
        raise _BadLine("input.max_tokens", repr(asked), "a positive integer")
    return Prompt(prompt, 0, 0, asked)


def _user_text(messages: object) -> str:
    if not isinstance(messages, list):
        raise _BadLine("input.messages", _kind(messages), "a list of messages")
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str) and content:
                return content
            raise _BadLine(
                "input.messages", f"a user message with {_kind(content)} as content", "text that is not empty"
            )
    raise _BadLine("input.messages", f"{len(messages)} messages, none of role user", "a message of role user")


def _kind(value: object) -> str:
    if value is None:
        return "nothing"
    return "empty text" if value == "" else type(value).__name__


def _check_lengths(isl: int, osl: int, range_ratio: float) -> None:
    problems = [
        Problem(None, None, key, str(value), "at least 1 token")
        for key, value in (("isl", isl), ("osl", osl))
        if value < 1
    ]
    if not 0 <= range_ratio < 1:
        problems.append(Problem(None, None, "random_range_ratio", str(range_ratio), "a ratio in [0, 1)"))
    if problems:
        raise ConfigError(problems)


def _length(generator: random.Random, mean: int, range_ratio: float) -> int:
    return max(1, generator.randint(int(mean * (1 - range_ratio)), int(mean * (1 + range_ratio))))


def _words(generator: random.Random, index: int, count: int) -> str:
    """``count`` words; the first is the request's number, so that no two prompts share a prefix."""
    return " ".join([str(index), *generator.choices(WORDS, k=count - 1)])


def longest(prompts: Sequence[Prompt]) -> int:
    """The most token ids that any of the prompts has."""
    return max((prompt.tokens for prompt in prompts), default=0)
