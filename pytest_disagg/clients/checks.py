"""What a load generator may refuse before anything is deployed for it."""

from __future__ import annotations

from pytest_disagg.clients.protocol import LoadPoint
from pytest_disagg.errors import Problem

TOKENIZER_KEY = "metadata.model_name"
"""The key that a problem names where the model's tokenizer is missing."""


def wrong_numbers(point: LoadPoint) -> list[Problem]:
    """The numbers of ``point`` that have to be above 0 and are not."""
    named: list[tuple[str, float | None]] = [
        ("concurrency", point.concurrency),
        ("num_prompts", point.num_prompts),
        ("request_timeout_s", point.request_timeout_s),
        ("timeout_s", point.timeout_s),
        ("request_rate", point.request_rate),
    ]
    if point.dataset_file is None:
        named.append(("isl", point.isl))
    return [
        Problem(None, None, key, f"{value:g}", "a number above 0")
        for key, value in named
        if value is not None and not value > 0
    ]
