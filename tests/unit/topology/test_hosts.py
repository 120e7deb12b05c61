from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_disagg.config.case import Case
from pytest_disagg.errors import UsageError
from pytest_disagg.topology.hosts import assign, expand
from pytest_disagg.topology.placement import place


@pytest.mark.parametrize(
    ("hostlist", "hosts"),
    [
        ("cpu1", "cpu1"),
        ("gb200-[01-03,07],cpu1", "gb200-01 gb200-02 gb200-03 gb200-07 cpu1"),
        ("b,a[2,1]", "b a2 a1"),
        ("r[1-2]n[01-02]", "r1n01 r1n02 r2n01 r2n02"),
        ("n[1-2]-ib", "n1-ib n2-ib"),
        ("n[8-11]", "n8 n9 n10 n11"),
        ("n[08-11]", "n08 n09 n10 n11"),
        ("n[099-101]", "n099 n100 n101"),
        ("n[0-1,05]", "n0 n1 n05"),
        ("n1, n2", "n1 n2"),
    ],
)
def test_expand_keeps_order_and_padding(hostlist: str, hosts: str) -> None:
    assert expand(hostlist) == hosts.split()


@pytest.mark.parametrize(
    ("hostlist", "token", "found"),
    [
        ("", "", "found no host"),
        ("a,,b", "''", "an empty entry"),
        ("a b", "'a b'", "white space"),
        ("a\nb,c", r"'a\nb'", "white space"),
        ("a,n[1-2", "'n[1-2'", "a bracket that is not closed"),
        ("a,n1-2]", "'n1-2]'", "a ] without its ["),
        ("n[1[2]]", "'n[1['", "a bracket inside a bracket"),
        ("a,n[3-1]", "'n[3-1]'", "found range '3-1', expected N <= M"),
        ("n[1-x]", "'n[1-x]'", "found '1-x', expected N or N-M"),
        ("n[]", "'n[]'", "found '', expected N or N-M"),
        ("n[0-99999999]", "'n[0-99999999]'", "expected at most 65536 hosts"),
        ("r[0-9999]n[0-9999]", "'r[0-9999]n[0-9999]'", "more than 65536 hosts"),
    ],
)
def test_expand_names_the_token_that_is_wrong(hostlist: str, token: str, found: str) -> None:
    with pytest.raises(UsageError) as error:
        expand(hostlist)
    assert repr(hostlist) in str(error.value)
    assert token in str(error.value)
    assert found in str(error.value)


def test_assign_gives_roles_their_hosts_in_rank_order(make_case: Callable[..., Case]) -> None:
    placement = place(make_case(gen=(1, 8), ctx=(1, 4)))

    assert assign(placement, expand("z2,z1,a,spare")) == {
        "GEN_0": ("z2", "z1"),
        "CTX_0": ("a",),
        "DISAGG_SERVER": ("z2",),
        "BENCHMARK": ("z2",),
    }


def test_assign_of_an_alone_case_has_no_coordinator(make_case: Callable[..., Case]) -> None:
    placement = place(make_case(alone=(1, 8)))

    assert assign(placement, ["a", "b"]) == {"SERVER_0": ("a",), "SERVER_1": ("a", "b")}


def test_assign_says_what_is_needed_and_what_is_there(make_case: Callable[..., Case]) -> None:
    with pytest.raises(UsageError, match=r"found 2 allocated \(a, b\), expected at least 3 .*GEN_0 2, CTX_0 1"):
        assign(place(make_case(gen=(1, 8), ctx=(1, 4))), ["a", "b"])


def test_assign_rejects_a_host_named_twice(make_case: Callable[..., Case]) -> None:
    with pytest.raises(UsageError, match="names a more than once"):
        assign(place(make_case()), ["a", "a"])
