"""What lm_eval writes. The documents have the keys of real results of lm_eval 0.4.13, less those nobody reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_disagg.clients.accuracy.results import NoScoresError, read

REAL: dict[str, Any] = {
    "results": {
        "gsm8k": {
            "name": "gsm8k",
            "alias": "gsm8k",
            "sample_len": 1319,
            "exact_match,strict-match": 0.9491,
            "exact_match_stderr,strict-match": 0.00605,
            "exact_match,flexible-extract": 0.9507,
            "exact_match_stderr,flexible-extract": 0.00596,
        }
    },
    "group_subtasks": {},
    "configs": {"gsm8k": {"task": "gsm8k", "output_type": "generate_until"}},
    "versions": {"gsm8k": 3.0},
    "n-shot": {"gsm8k": 5},
    "higher_is_better": {"gsm8k": {"exact_match": True}},
    "n-samples": {"gsm8k": {"original": 1319, "effective": 1319}},
    "config": {"model": "local-completions", "model_args": {}, "limit": None},
    "lm_eval_version": "0.4.13",
    "model_name": "m",
    "model_name_sanitized": "m",
}


def put(folder: Path, document: object, name: str = "results_2026-11-21T17-56-17.064756.json") -> Path:
    path = folder / "m" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def test_every_score_with_its_filter_and_its_error(tmp_path: Path) -> None:
    path = put(tmp_path, REAL)
    found = read(tmp_path, "gsm8k")
    assert (found.path, found.version, found.cut) == (path, "0.4.13", None)
    assert [(score.key, score.value, score.stderr, score.samples) for score in found.scores] == [
        ("exact_match,strict-match", 0.9491, 0.00605, 1319),
        ("exact_match,flexible-extract", 0.9507, 0.00596, 1319),
    ]
    assert [score.name for score in found.scores] == [
        "accuracy_gsm8k_exact_match_strict_match",
        "accuracy_gsm8k_exact_match_flexible_extract",
    ]
    assert str(found.scores[1]) == "gsm8k exact_match,flexible-extract 0.9507 ± 0.006"


def test_a_group_has_its_own_score_and_a_tag_those_of_its_tasks(tmp_path: Path) -> None:
    parts = {
        "mmlu_law": {"alias": "law", "acc,none": 0.5, "acc_stderr,none": "N/A"},
        "mmlu_art": {"alias": "art", "acc,none": 0.75, "acc_stderr,none": 0.01},
    }
    put(tmp_path, {**REAL, "results": {"mmlu": {"alias": "mmlu", "acc,none": 0.6}, **parts}})
    assert [(score.task, score.name, score.value) for score in read(tmp_path, "mmlu").scores] == [
        ("mmlu", "accuracy_mmlu_acc", 0.6)
    ]
    put(tmp_path, {**REAL, "results": {"tag": {"alias": "tag", " ": " "}, **parts}}, "results_2026-11-22.json")
    found = read(tmp_path, "tag")
    assert [(score.task, score.value, score.stderr) for score in found.scores] == [
        ("mmlu_law", 0.5, None),
        ("mmlu_art", 0.75, 0.01),
    ]


def test_fewer_samples_than_there_are_is_known(tmp_path: Path) -> None:
    put(tmp_path, {**REAL, "n-samples": {"gsm8k": {"original": 1319, "effective": 3}}})
    found = read(tmp_path, "gsm8k")
    assert (found.cut, found.scores[0].samples) == (1319, 3)


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "there is no results_*.json below "),
        ("{", "Expecting property name"),
        ([], "has no score of gsm8k; there is nothing"),
        ({"results": {"other": {"alias": "x"}}}, "has no score of gsm8k; there is other"),
        ({"results": {"gsm8k": {"exact_match,none": float("nan")}}}, "has no score of gsm8k"),
        ({"results": {"gsm8k": {"exact_match,none": True}}}, "has no score of gsm8k"),
    ],
)
def test_no_scores(tmp_path: Path, document: object, said: str) -> None:
    if document is not None:
        put(tmp_path, document)
    with pytest.raises(NoScoresError) as error:
        read(tmp_path, "gsm8k")
    assert said in str(error.value)
