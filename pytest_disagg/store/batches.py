"""Documents in batches of a size that a server takes at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pytest_disagg.store.documents import Document

MOST_DOCUMENTS = 500
MOST_BYTES = 5_000_000


def batches(documents: Sequence[Document]) -> Iterator[list[Document]]:
    """All documents in order, at most 500 and 5 MB together; a bigger one goes alone."""
    batch: list[Document] = []
    size = 0
    for each in documents:
        own = len(json.dumps(each.body))
        if batch and (len(batch) >= MOST_DOCUMENTS or size + own > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(each)
        size += own
    if batch:
        yield batch
