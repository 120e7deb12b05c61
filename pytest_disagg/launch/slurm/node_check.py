"""What a node must have before a server starts there: ``python node_check.py WANTED TOKEN FOLDER``.

A program of its own, copied beside the job script: it needs the standard library, and of this package only what it
looks for. WANTED is JSON, see :mod:`.checks`; TOKEN is what the file named there must hold; FOLDER is written to.
Prints one JSON object for each check, ``{"node", "check", "ok", "found", "expected"}``; exits with 8 where one is not
ok.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

FAILED = 8
OLDEST_PYTHON = (3, 10)
FREE_MIB = 100
"""For logs, junit files and records of a run; engines' caches lie elsewhere."""
DRIVER = Path("/proc/driver/nvidia/gpus")
NO_FILES = "NoDevFiles"
"""What Slurm says of GPUs that its configuration counts without naming their device files."""
SMI_S = 30.0
"""For nvidia-smi to answer, within the limit of all checks."""
MODELS_VARIABLE = "LLM_MODELS_ROOT"


class Check(NamedTuple):
    """One thing looked at: what was found, and what would be right."""

    check: str
    ok: bool
    found: str
    expected: str


def main(text: str, token: str, folder: str) -> int:
    """Make every check and print it; the exit code."""
    node = os.environ.get("SLURMD_NODENAME") or os.uname().nodename
    ok = True
    for check in checks(json.loads(text), token, Path(folder), node):
        ok = ok and check.ok
        # One write for each line: several nodes share the file.
        sys.stdout.write(json.dumps({"node": node, **check._asdict()}) + "\n")
        sys.stdout.flush()
    return 0 if ok else FAILED


def checks(wanted: Mapping[str, Any], token: str, folder: Path, node: str) -> Iterator[Check]:
    """Every check of ``wanted`` on this node."""
    first = os.environ.get("SLURM_NODEID", "0") == "0"
    yield _python()
    yield _package(wanted["version"])
    yield _shared(Path(wanted["token_file"]), token)
    yield _writable(folder, node)
    yield _space(folder)
    yield _space(Path(tempfile.gettempdir()))
    for what, path, everywhere in wanted["readable"]:
        if everywhere or first:
            yield _readable(what, path)
    if wanted["models_variable"] and os.environ.get(MODELS_VARIABLE):
        yield _readable(MODELS_VARIABLE, os.environ[MODELS_VARIABLE])
    if wanted["gpus"]:
        yield _gpus(wanted["gpus"])
    if wanted["machine"]:
        yield from _gpu_states(wanted["machine"])


def _python() -> Check:
    found, oldest = (".".join(map(str, version)) for version in (sys.version_info[:3], OLDEST_PYTHON))
    return Check("Python", sys.version_info >= OLDEST_PYTHON, f"{found} ({sys.executable})", f"{oldest} or newer")


def _package(version: str) -> Check:
    """Another version could mean something else by the same files."""
    expected = f"pytest-disagg {version} and pytest in {sys.executable}"
    try:
        from pytest_disagg.version import __version__ as here
    except ImportError as error:
        return Check("pytest-disagg", False, str(error), expected)
    if importlib.util.find_spec("pytest") is None:
        return Check("pytest-disagg", False, "no pytest", expected)
    return Check("pytest-disagg", here == version, here, expected)


def _shared(path: Path, token: str) -> Check:
    """What was just written elsewhere is read here."""
    try:
        found = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        found = str(error.strerror)
    return Check("shared work directory", found == token, f"{path}: {found}", f"{token}, as just written there")


def _writable(folder: Path, node: str) -> Check:
    """Whoever started this removes the file."""
    expected = "a folder that jobs can write to"
    try:
        (folder / f".check.{node}").write_text(node, encoding="utf-8")
    except OSError as error:
        return Check("writable work directory", False, f"{folder}: {error.strerror}", expected)
    return Check("writable work directory", True, str(folder), expected)


def _space(folder: Path) -> Check:
    expected = f"at least {FREE_MIB} MiB"
    try:
        stat = os.statvfs(folder)
    except OSError as error:
        return Check("free space", False, f"{folder}: {error.strerror}", expected)
    free = stat.f_bavail * stat.f_frsize // 2**20
    return Check("free space", free >= FREE_MIB, f"{free} MiB in {folder}", expected)


def _readable(what: str, path: str) -> Check:
    """A file, or a folder that can be listed."""
    try:
        if Path(path).is_dir():
            os.scandir(path).close()
        else:
            Path(path).open("rb").close()
    except OSError as error:
        return Check(what, False, f"{path}: {error.strerror}", "readable on the node")
    return Check(what, True, path, "readable on the node")


def _gpus(count: int) -> Check:
    """GPUs that the job may use, and that the driver still has where there is one."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = None if visible == NO_FILES else visible
    driver = len(list(DRIVER.iterdir())) if DRIVER.is_dir() else None
    allowed = None if names is None else len([name for name in names.split(",") if name])
    found = min((each for each in (allowed, driver) if each is not None), default=0)
    said = f"{found} (CUDA_VISIBLE_DEVICES: {visible}, driver: {driver})"
    return Check("GPUs", found >= count, said, f"at least {count}")


def _gpu_states(rules: Mapping[str, Any]) -> Iterator[Check]:
    """What the case's rules call a failure, on the nodes too where no role of ours will look."""
    try:
        from pytest_disagg.config.blocks import MachineRules
        from pytest_disagg.machine.findings import findings
        from pytest_disagg.machine.processes import told
        from pytest_disagg.machine.smi import mine, read
        from pytest_disagg.records.nvidia_smi import SmiError
    except ImportError:
        return  # the check of the package has said it
    check, given = "GPU state", MachineRules(**rules)
    try:
        gpus = mine(read(min(given.timeout_s, SMI_S)) or (), os.environ)
    except SmiError as error:
        yield Check(check, False, str(error), "an nvidia-smi that answers")
        return
    for finding in findings(gpus, given, lambda pid: False, told):
        if finding.action == "fail":
            found, _, expected = finding.text.partition(", expected ")
            yield Check(check, False, found.replace(": found ", ": ", 1), expected)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
