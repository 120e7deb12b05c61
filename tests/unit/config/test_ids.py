from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import get_args

import pytest

from pytest_disagg.config import ids
from pytest_disagg.config.blocks import CaseName
from pytest_disagg.config.case import CaseId
from pytest_disagg.config.ids import AGGR_FILE_CASES, DISAGG_FILE_CASES, Kind
from pytest_disagg.errors import ConfigError, Problem


class Known:
    """Files that exist only as names: ``name: kind`` or, of aggregated ones, ``name: server names``."""

    def __init__(self, files: Mapping[str, Kind | Sequence[str]]) -> None:
        self._files = files

    def kind(self, stem: str) -> Kind | None:
        entry = self._files.get(stem)
        return "aggr" if isinstance(entry, (list, tuple)) else entry  # type: ignore[return-value]

    def servers(self, stem: str) -> Collection[str]:
        entry = self._files[stem]
        return () if isinstance(entry, str) else entry

    def missing(self, stems: Sequence[str], text: str) -> Problem:
        return Problem(None, None, text, "no file", " or ".join(stems))


def parse(text: str, **files: Kind | Sequence[str]) -> CaseId:
    return ids.parse(text, Known({name.replace("__", "-"): entry for name, entry in files.items()}))


@pytest.mark.parametrize("prefix", ["disagg", "disagg_upload"])
@pytest.mark.parametrize("mode", ["e2e", "gen_only", "gen_only_no_context"])
def test_disaggregated_modes(prefix: str, mode: str) -> None:
    case_id = parse(f"{prefix}-{mode}-a-b", a__b="disagg")
    assert (case_id.prefix, case_id.mode, case_id.stem, case_id.modifier) == (prefix, mode, "a-b", None)
    assert case_id.runtime == "disagg"
    assert case_id.upload is prefix.endswith("_upload")
    assert not case_id.legacy


@pytest.mark.parametrize("prefix", ["aggr", "aggr_upload"])
def test_ctx_only_reads_a_disaggregated_file_and_runs_alone(prefix: str) -> None:
    case_id = parse(f"{prefix}-ctx_only-a-b", a__b="disagg")
    assert (case_id.mode, case_id.stem, case_id.runtime) == ("ctx_only", "a-b", "alone")


@pytest.mark.parametrize(
    "text",
    ["disagg-e2e-time_breakdown-x", "aggr-ctx_only-time_breakdown-x", "disagg-gen_only_no_context-time_breakdown-x"],
)
def test_one_modifier_after_the_mode(text: str) -> None:
    case_id = parse(text, x="disagg")
    assert (case_id.modifier, case_id.stem) == ("time_breakdown", "x")


def test_a_modifier_is_from_a_closed_list() -> None:
    with pytest.raises(ConfigError, match="other_word-x"):
        parse("disagg-e2e-other_word-x", x="disagg")


def test_the_older_grammar_has_no_mode() -> None:
    case_id = parse("disagg_upload-a-b", a__b="disagg")
    assert case_id.legacy
    assert case_id.stem == "a-b"


def test_a_mode_word_that_is_part_of_a_name_is_read_as_the_name_where_only_that_exists() -> None:
    case_id = parse("disagg-e2e-foo", e2e__foo="disagg")
    assert (case_id.legacy, case_id.stem) == (True, "e2e-foo")


def test_two_readings_that_both_exist_are_an_error_naming_both() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("disagg-e2e-foo", foo="disagg", e2e__foo="disagg")
    assert "'foo' in mode e2e and 'e2e-foo' in the older grammar" in str(caught.value)


def test_a_stem_that_begins_with_a_modifier_is_ambiguous_only_beside_the_other() -> None:
    assert parse("disagg-e2e-time_breakdown-x", time_breakdown__x="disagg").modifier is None
    with pytest.raises(ConfigError, match=r"'time_breakdown-x' in mode e2e and 'x' in mode e2e with time_breakdown"):
        parse("disagg-e2e-time_breakdown-x", time_breakdown__x="disagg", x="disagg")


def test_ctx_only_beside_an_aggregated_file_of_that_name_is_ambiguous() -> None:
    with pytest.raises(ConfigError, match="two readings that both exist: 'x' in mode ctx_only and 'ctx_only'"):
        parse("aggr-ctx_only-x", x="disagg", ctx_only=["x"])


@pytest.mark.parametrize(
    ("text", "stem", "servers"),
    [
        ("aggr-a", "a", ()),
        ("aggr-a-s1", "a", ("s1",)),
        ("aggr-a-s-2", "a", ("s-2",)),
        ("aggr-a-s1,s-2", "a", ("s1", "s-2")),
        ("aggr-a-s1, s-2", "a", ("s1", "s-2")),
    ],
)
def test_servers_of_an_aggregated_file(text: str, stem: str, servers: tuple[str, ...]) -> None:
    case_id = parse(text, a=["s1", "s-2"])
    assert (case_id.mode, case_id.stem, case_id.servers) == ("aggregated", stem, servers)


def test_the_longest_existing_name_of_an_aggregated_file_wins() -> None:
    assert parse("aggr-a-b", a=["b"], a__b=["c"]).servers == ()
    assert parse("aggr-a-b-c", a=["b-c"], a__b=["c"]).servers == ("c",)
    # ... among the readings that mean something.
    assert parse("aggr-a-b-c", a=["b-c"], a__b=["x"]).stem == "a"


def test_a_server_that_is_not_there_is_an_error_listing_the_names() -> None:
    with pytest.raises(ConfigError) as caught:
        parse("aggr-a-smal,large", a=["small", "large"])
    message = str(caught.value)
    assert "no server 'smal' in 'a'" in message
    assert "expected one of large, small" in message
    assert "did you mean 'small'?" in message


def test_a_server_named_twice_is_an_error() -> None:
    with pytest.raises(ConfigError, match="a server named twice"):
        parse("aggr-a-s,s", a=["s"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("disag-e2e-x", "did you mean 'disagg'"),
        ("disagg", "expected one of disagg, disagg_upload, aggr, aggr_upload"),
        ("disagg-", "then '-' and the rest"),
        ("disagg-ctx_only-x", "mode ctx_only goes with aggr: aggr-ctx_only-x"),
        ("aggr_upload-e2e-x", "mode e2e goes with disagg_upload: disagg_upload-e2e-x"),
        ("disagg-gen_onl-x", "did you mean 'gen_only'"),
        ("aggr-gen_only_no_context-x", "expected the id disagg-gen_only_no_context-x"),
    ],
)
def test_ids_that_cannot_be(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(text, x="disagg")


def test_the_wrong_kind_of_file_is_said() -> None:
    with pytest.raises(ConfigError, match=r"'x', an aggregated file \(server_configs\), expected .*worker_config"):
        parse("disagg-e2e-x", x=["s"])
    with pytest.raises(ConfigError, match=r"'x', a disaggregated file .*, expected .*server_configs"):
        parse("aggr-x", x="disagg")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("perf/test_perf_sanity.py::test_e2e[disagg-e2e-x] TIMEOUT (120)", "disagg-e2e-x"),
        ("test_e2e[aggr-x]", "aggr-x"),
        ("aggr-x", "aggr-x"),
        ("odd[name", "odd[name"),
    ],
)
def test_an_id_is_taken_out_of_a_node_id(text: str, expected: str) -> None:
    assert ids.unwrapped(text) == expected


def test_case_names_are_the_same_in_the_grammar_and_in_the_schema() -> None:
    assert {*DISAGG_FILE_CASES, *AGGR_FILE_CASES} == {*get_args(CaseName)}
