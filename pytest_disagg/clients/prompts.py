"""The prompts of a load: the same for every client that sends what it is given."""

from __future__ import annotations

from pytest_disagg.clients.dataset import PromptSet, file_prompts, random_prompts
from pytest_disagg.clients.protocol import LoadPoint


def variant(point: LoadPoint, repeat: int) -> str:
    """What makes the random prompts of a load and a repeat others than those that a prefix cache has seen."""
    return f"{repeat}/{point.concurrency}/{point.num_prompts}/{point.isl}/{point.osl}"


def prompts_of(point: LoadPoint, variant: str) -> PromptSet:
    """As many prompts as ``point`` has requests.

    Raises:
        ConfigError: the dataset file is missing or unusable, or the lengths are.
    """
    if point.dataset_file is not None:
        return file_prompts(point.dataset_file, point.num_prompts, seed=point.seed)
    return random_prompts(
        point.num_prompts,
        isl=point.isl,
        osl=point.osl,
        range_ratio=point.random_range_ratio,
        seed=point.seed,
        variant=variant,
        as_text=point.use_chat_template or point.text_prompts,
    )
