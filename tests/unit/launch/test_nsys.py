"""The words of nsys and the ranges it profiles."""

from __future__ import annotations

import pytest

from pytest_disagg.errors import UsageError
from pytest_disagg.launch.nsys import OUTPUT_OF_ROLE, nsys_prefix, profile_range


def test_the_words_before_a_command() -> None:
    words = nsys_prefix(f"/x y/{OUTPUT_OF_ROLE}", environment={"A": "1", "B": "2"})
    assert words[:4] == ["nsys", "profile", "-t", "cuda,nvtx,python-gil"]
    assert words[words.index("-e") + 1] == "A=1,B=2"
    assert words[-2:] == ["-o", "/x y/nsys.%q{DISAGG_SERVING_TYPE}.rank%q{SLURM_PROCID}"]
    assert "-e" not in nsys_prefix("x", environment={})
    with pytest.raises(UsageError, match="expected a value without a comma"):
        nsys_prefix("x", environment={"A": "1,2"})


@pytest.mark.parametrize("text", ["1-100", "5-5", "1-2,10-20"])
def test_ranges(text: str) -> None:
    assert profile_range(text) == text


@pytest.mark.parametrize("text", ["", "1", "2-1", "a-b", "1-2,", "-1-2", "1-2 "])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(UsageError, match=r"--x: found .*, expected iterations A-B"):
        profile_range(text, "--x")
