"""A block of a case file as command-line words, and the keys that such a block cannot have."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_disagg.config.names import server_names
from pytest_disagg.errors import Problem
from pytest_disagg.redact import secret_name
from pytest_disagg.topology.problems import problem

if TYPE_CHECKING:
    from pytest_disagg.config.case import Case, ServerSpec

KEY = re.compile(r"[a-z][a-z0-9_]*")
NO_SECRET = "nothing: a command line is seen by everybody on the node"
"""What is expected instead of a key that holds a secret."""


@dataclass(frozen=True)
class Style:
    """How a program takes its options, where programs differ.

    ``negated``: a switch that is false is ``--no-<name>``, except those in ``one_way``; else it is nothing, except
    those in ``two_way``. A list follows its option word by word; of ``json_lists`` it is one JSON word, of ``repeated``
    the option is given again for each.
    """

    negated: bool = False
    one_way: Collection[str] = ()
    two_way: Collection[str] = ()
    json_lists: Collection[str] = ()
    repeated: Collection[str] = ()

    def words(self, block: Mapping[str, Any]) -> list[str]:
        """``chunked_prefill_size: 4096`` as ``--chunked-prefill-size 4096``.

        true is the bare option; null and an empty list are nothing; a mapping is JSON.
        """
        return [word for key, value in block.items() for word in self._option(key, value)]

    def _option(self, key: str, value: Any) -> Iterator[str]:
        option = f"--{key.replace('_', '-')}"
        if value is None or value == []:
            return
        if value is False:
            if key in self.two_way or (self.negated and key not in self.one_way):
                yield f"--no-{option[2:]}"
        elif value is True:
            yield option
        elif not isinstance(value, (list, tuple)) or key in self.json_lists:
            yield from (option, _word(value))
        elif key in self.repeated:
            for each in value:
                yield from (option, _word(each))
        else:
            yield from (option, *map(_word, value))


PLAIN = Style()


def as_json(value: object) -> str:
    """Without blanks, keys in the file's order."""
    return json.dumps(value, separators=(",", ":"))


def keys(words: str) -> frozenset[str]:
    """The blank-separated names."""
    return frozenset(words.split())


def refuse(*groups: tuple[str, str]) -> dict[str, str]:
    """Key -> what is expected instead; of each group what is expected, and its blank-separated keys."""
    return {key: expected for expected, keys in groups for key in keys.split()}


def key_problems(case: Case, where: str, block: Mapping[str, Any], refused: Mapping[str, str]) -> Iterator[Problem]:
    """What is wrong with the keys of the block at ``where``; ``refused`` says what is expected instead of a key."""
    for key, value in block.items():
        at = f"{where}.{key}"
        if not isinstance(key, str) or not KEY.fullmatch(key):
            expected = (
                "an option's name in lower case with underscores, without dashes (--max-model-len is max_model_len); "
                "what is below it as a mapping"
            )
            yield problem(case, at, f"the key {key!r}", expected)
        elif key in refused and value is not None:
            yield problem(case, at, "a secret" if secret_name(key) else _shown(value), refused[key])


def block_of(case: Case, spec: ServerSpec) -> str:
    """The dotted key of a server's block in the case file."""
    if case.id.mode == "ctx_only":
        return "worker_config.ctx"
    if spec.kind != "server":
        return f"worker_config.{spec.kind}"
    names = server_names(case.document)
    return f"server_configs.{names.index(spec.name)}" if spec.name in names else "server_configs"


def coordinator_block(case: Case) -> Mapping[str, Any]:
    """``coordinator_config`` of the case file; empty where there is none."""
    block = case.document.get("coordinator_config")
    return block if isinstance(block, Mapping) else {}


def without(block: Mapping[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """The other keys, in their order."""
    return {key: value for key, value in block.items() if key not in keys}


def _word(value: Any) -> str:
    return value if isinstance(value, str) else as_json(value)


def _shown(value: Any) -> str:
    return "a mapping" if isinstance(value, Mapping) else repr(value)
