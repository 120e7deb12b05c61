"""GPU-hours: definitions, forms, how they are read back."""

from __future__ import annotations

import pytest

from pytest_disagg.records.gpu_hours import GpuHours, shown, total
from pytest_disagg.records.metrics import METRICS


def test_held_gpus_times_hours_and_what_the_measured_windows_are_of_it() -> None:
    hours = GpuHours.of(8, 1800.0, [(6, 300.0), (6, 300.0)])
    assert (hours.allocated, hours.useful, hours.wasted) == (4.0, 1.0, 3.0)
    assert str(hours) == "4.00 allocated, 1.00 useful, 3.00 wasted (75 %)"


def test_nothing_useful_is_all_wasted() -> None:
    assert GpuHours.of(4, 3600.0).to_dict() == {"allocated": 4.0, "useful": 0.0, "wasted": 4.0}


def test_two_clocks_never_make_more_useful_than_allocated() -> None:
    assert GpuHours.of(4, 3600.0, [(4, 3601.0)]).wasted == 0.0
    assert GpuHours.of(4, -1.0).allocated == 0.0


def test_retries_add_up_and_what_is_not_known_counts_for_nothing() -> None:
    assert total([GpuHours(2.0, 1.0), None, GpuHours(3.0)]) == GpuHours(5.0, 1.0)
    assert total([None, None]) is None


def test_what_is_written_is_read_back() -> None:
    hours = GpuHours(2.0, 0.5)
    assert GpuHours.read(hours.to_dict()) == hours
    assert GpuHours.read(hours.fields(), "d_gpu_hours_") == hours
    assert list(hours.fields()) == ["d_gpu_hours_allocated", "d_gpu_hours_useful", "d_gpu_hours_wasted"]


@pytest.mark.parametrize(
    "data", [{}, {"useful": 1.0}, {"allocated": "4"}, {"allocated": True}, {"allocated": float("nan")}]
)
def test_without_a_number_there_are_none(data: dict[str, object]) -> None:
    assert GpuHours.read(data) is None


def test_they_are_of_the_run_and_no_metric_of_a_point() -> None:
    assert not [name for name in METRICS if "gpu_hours" in name]


@pytest.mark.parametrize(
    ("hours", "text"),
    [(1234.5, "1234"), (12.34, "12.3"), (1.234, "1.23"), (0.01234, "0.0123"), (0.0, "0"), (1e-9, "0")],
)
def test_three_digits_that_matter(hours: float, text: str) -> None:
    assert shown(hours) == text
