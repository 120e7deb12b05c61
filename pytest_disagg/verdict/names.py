"""Words that options and verdicts share; imports nothing, since options are read at every start."""

from __future__ import annotations

from typing import Literal

Policy = Literal["post", "pre", "compatible", "baseline"]
POLICIES: tuple[Policy, ...] = ("post", "pre", "compatible", "baseline")
"""``post``: a run of the reference branch. ``pre``: of a change not merged yet. ``compatible``: TensorRT-LLM's rule.
``baseline``: the baseline CSV alone, no history."""
REFERENCE_BRANCH = "main"
