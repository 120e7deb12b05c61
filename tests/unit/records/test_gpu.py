"""GPU names, with a stand-in for nvidia-smi on PATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_disagg.records.gpu import Gpu, gpu_type, probe, short_name

QUERY = "--query-gpu=name,driver_version,memory.total --format=csv,noheader,nounits"


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program named nvidia-smi, alone on PATH; the test writes its body."""
    monkeypatch.setenv("PATH", str(tmp_path))
    path = tmp_path / "nvidia-smi"
    path.touch(mode=0o755)
    return path


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("NVIDIA GB200", "gb200"),
        ("NVIDIA GB300", "gb300"),
        ("NVIDIA B200", "b200"),
        ("NVIDIA B300 SXM6 AC", "b300"),
        ("NVIDIA H200 NVL", "h200"),
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GH200 480GB", "gh200"),
        ("NVIDIA L40S", "l40s"),
        ("Tesla T4", "t4"),
        ("NVIDIA RTX A6000", "rtx-a6000"),
        ("NVIDIA GeForce RTX 4090", "geforce-rtx-4090"),
        ("NVIDIA A100X", "a100x"),
    ],
)
def test_short_names(product: str, name: str) -> None:
    assert short_name(product) == name


def test_the_driver_is_asked(smi: Path) -> None:
    smi.write_text(
        "#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 570.1, 81559'\necho 'NVIDIA H100 80GB HBM3, 570.1, [N/A]'\n"
    )
    found = probe()
    assert found.gpus == (
        Gpu("NVIDIA H100 80GB HBM3", "570.1", 81559),
        Gpu("NVIDIA H100 80GB HBM3", "570.1", None),
    )
    assert gpu_type(found) == "h100"


def test_no_tool_and_no_device_mean_no_gpu(smi: Path) -> None:
    smi.write_text("#!/bin/sh\necho 'No devices were found'; exit 6\n")
    assert gpu_type() == "none"
    smi.unlink()
    assert probe().error == ""
    assert gpu_type() == "none"


def test_a_driver_that_fails_is_said(smi: Path) -> None:
    smi.write_text("#!/bin/sh\necho 'driver/library version mismatch' >&2; exit 18\n")
    found = probe()
    assert found.error == f"{smi} {QUERY} ended with exit code 18: driver/library version mismatch"
    assert gpu_type(found) == "unknown"


def test_a_driver_that_hangs_is_said(smi: Path) -> None:
    smi.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    assert probe(timeout_s=0.2).error == f"{smi} {QUERY} gave no answer in 0.2 s"
