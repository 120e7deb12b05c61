from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_disagg.clients.dataset import VOCAB, file_prompts, longest, random_prompts
from pytest_disagg.errors import ConfigError


def line(*messages: tuple[str, str], tokens: int = 5) -> str:
    return json.dumps({"input": {"messages": [{"role": r, "content": c} for r, c in messages], "max_tokens": tokens}})


def test_random_prompts_are_a_function_of_seed_and_variant() -> None:
    same = [random_prompts(50, isl=100, osl=20, range_ratio=0.5, seed=1, variant="0") for _ in range(2)]
    assert same[0] == same[1]
    repeat = random_prompts(50, isl=100, osl=20, range_ratio=0.5, seed=1, variant="1")
    assert [p.first for p in repeat.prompts] != [p.first for p in same[0].prompts]
    assert [(p.tokens, p.output_tokens) for p in repeat.prompts] == [
        (p.tokens, p.output_tokens) for p in same[0].prompts
    ]
    other = random_prompts(50, isl=100, osl=20, range_ratio=0.5, seed=2, variant="0")
    assert [p.tokens for p in other.prompts] != [p.tokens for p in same[0].prompts]


def test_lengths_span_the_range_and_never_fall_below_one() -> None:
    prompts = random_prompts(2000, isl=100, osl=2, range_ratio=0.5).prompts
    assert (min(p.tokens for p in prompts), max(p.tokens for p in prompts)) == (50, 150)
    assert {p.output_tokens for p in prompts} == {1, 2, 3}
    assert longest(prompts) == 150
    assert {p.output_tokens for p in random_prompts(100, isl=1, osl=1, range_ratio=0.9).prompts} == {1}


def test_no_two_prompts_begin_alike_while_the_vocabulary_lasts() -> None:
    assert len({p.first for p in random_prompts(VOCAB, isl=1, osl=1).prompts}) == VOCAB
    few = random_prompts(25, isl=1, osl=1, vocab=10).prompts
    assert all(0 <= p.first < 10 for p in few)


def test_prompts_of_words_have_one_word_per_token_and_no_common_prefix() -> None:
    prompts = random_prompts(3, isl=10, osl=1, as_text=True).prompts
    assert all(p.text is not None and len(p.text.split()) == 10 for p in prompts)
    assert len({(p.text or "").split()[0] for p in prompts}) == 3


@pytest.mark.parametrize(
    ("isl", "osl", "ratio", "key"), [(0, 1, 0, "isl"), (1, 0, 0, "osl"), (1, 1, 1.0, "range_ratio")]
)
def test_lengths_that_cannot_be(isl: int, osl: int, ratio: float, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        random_prompts(1, isl=isl, osl=osl, range_ratio=ratio)


def test_a_file_gives_the_last_user_message_by_role(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(
        line(("user", "only"))
        + "\n\n  \n"
        + line(("system", ""), ("user", "one"), ("assistant", "x"), ("user", "two"), tokens=7)
        + "\n"
    )
    prompts = file_prompts(path, 2).prompts
    assert sorted((p.text, p.output_tokens) for p in prompts) == [("only", 5), ("two", 7)]


def test_a_file_is_shuffled_by_seed_and_cut_to_the_load(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text("\n".join(line(("user", str(i))) for i in range(100)))
    texts = [[p.text for p in file_prompts(path, 30, seed=seed).prompts] for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert len(set(texts[0])) == 30
    assert file_prompts(path, 30).notes == ()


def test_a_short_file_is_used_again_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text(line(("user", "a")) + "\n" + line(("user", "b")))
    result = file_prompts(path, 5)
    texts = [p.text for p in result.prompts]
    assert texts[:2] == texts[2:4]
    assert "2 prompts for 5 requests" in result.notes[0]


def test_every_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    bad = [
        "{",
        "[]",
        json.dumps({"input": {"messages": "x", "max_tokens": 1}}),
        line(("system", "x")),
        line(("user", "")),
        line(("user", "x"), tokens=0),
        json.dumps({"input": {"messages": [{"role": "user", "content": "x"}], "max_tokens": True}}),
    ]
    path.write_text("\n".join([line(("user", "fine")), *bad]))
    with pytest.raises(ConfigError) as e:
        file_prompts(path, 1)
    assert [problem.line for problem in e.value.problems] == [2, 3, 4, 5, 6, 7, 8]
    assert f"{path}:5: input.messages: found 1 messages, none of role user" in str(e.value)
    assert f"{path}:7: input.max_tokens: found 0, expected a positive integer" in str(e.value)


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe"])
def test_a_file_without_a_prompt_is_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "d.jsonl"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="dataset_file"):
        file_prompts(path, 1)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="found No such file or directory"):
        file_prompts(tmp_path / "none.jsonl", 1)
