"""What collecting many case files costs, beside plain pytest collecting the same test ids from a literal list.

    python benchmarks/collect.py --files 5000 --runs 7

Both sides run ``pytest --collect-only -q``; "plain" has the plugin disabled. Also one full test id given, where the
plugin opens one file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from alternate import Command, head, output_of, row, seconds_of
from config_files import write_config_files

from pytest_disagg.config.listing import list_cases

OURS = "def test_e2e(disagg_case):\n    disagg_case.run()\n"
PLAIN = """\
import pytest

CASES = [
{cases}
]


@pytest.mark.parametrize("case", CASES, ids=CASES)
def test_e2e(case):
    pass
"""


def pytest_command(name: str, cwd: Path, *more: str) -> Command:
    argv = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *more)
    return Command(name, argv, cwd)


def prepared(folder: Path, files: int) -> tuple[list[str], int]:
    """Write both projects below ``folder``; the test ids they have in common, and the case files' bytes."""
    configs = folder / "ours" / "test_configs"
    total = write_config_files(configs, files)
    ids = [case.id for case in list_cases([configs])]
    for name, text in (("ours", OURS), ("plain", PLAIN.format(cases="\n".join(f"    {case!r}," for case in ids)))):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "pytest.ini").write_text("[pytest]\n")
        (folder / name / "test_e2e.py").write_text(text)
    return ids, total


def checked(commands: Sequence[Command], timeout_s: float) -> None:
    """Both sides must collect the same ids, or the comparison is of nothing."""
    found = [_collected(output_of(command, timeout_s=timeout_s)[0]) for command in commands]
    if found[0] != found[1]:
        raise SystemExit(f"plain pytest collects {len(found[0])} ids, the plugin {len(found[1])}, and not the same ones")


def _collected(output: str) -> list[str]:
    return [line for line in output.splitlines() if "::" in line]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=5000, metavar="N", help="case files to write (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=7, metavar="N", help="timed runs of each side (default: %(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="limit of one run (default: %(default)s)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="disagg-collect-") as name:
        folder = Path(name)
        ids, total = prepared(folder, args.files)
        print(f"{args.files} case files, {total / args.files / 1024:.1f} KiB each, {len(ids)} test ids; {args.runs} runs")
        plain = pytest_command("plain pytest, all", folder / "plain", "-p", "no:pytest_disagg.plugin")
        ours = pytest_command("pytest-disagg, all", folder / "ours")
        checked((plain, ours), args.timeout)
        one = f"test_e2e.py::test_e2e[{ids[len(ids) // 2]}]"
        plain_one = pytest_command("plain pytest, one id", plain.cwd, "-p", "no:pytest_disagg.plugin", one)
        ours_one = pytest_command("pytest-disagg, one id", ours.cwd, one)
        times = seconds_of((plain, ours, plain_one, ours_one), args.runs, timeout_s=args.timeout)
    print(head())
    for side, seconds in times.items():
        print(row(side, seconds))
    for what, a, b in (("all", ours, plain), ("one id", ours_one, plain_one)):
        print(f"ratio, {what}: {median(times[a.name]) / median(times[b.name]):.2f}")


if __name__ == "__main__":
    main()
