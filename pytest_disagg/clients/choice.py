"""Which load generator measures a case."""

from __future__ import annotations

from pytest_disagg.config.case import NATIVE, Case
from pytest_disagg.errors import UsageError

NV_SA = "nv_sa_benchmark"
"""The program that ``use_nv_sa_benchmark: true`` means, as the name of a client."""


def client_name(case: Case, option: str | None) -> str:
    """``option`` (``--disagg-client``) where it is given, else what the case's file says, else ``native``.

    Raises:
        UsageError: the file wants different clients for its loads; one run has one.
    """
    if option:
        return option
    loads = (*case.clients, *(load for spec in case.servers for load in spec.clients))
    names = sorted({NV_SA if load.use_nv_sa_benchmark else load.benchmark_client for load in loads})
    if len(names) > 1:
        raise UsageError(
            f"{case.id.text}: found loads for several clients ({', '.join(names)}), expected one; "
            "select one server in the test id, or set --disagg-client"
        )
    return names[0] if names else NATIVE
