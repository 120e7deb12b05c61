"""What collecting many case files costs, beside plain pytest collecting the same test ids from a literal list.

    python benchmarks/collect.py --files 5000 --runs 7

Both sides run ``pytest --collect-only -q``; "plain" has the plugin disabled. Also with one full test id given, where
the plugin opens one file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median

from alternate import Command, environment, output_of, table, times_of
from config_files import MIXES, write_config_files

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
INI = "[pytest]\ntestpaths = tests\n"
NO_PLUGIN = ("-p", "no:pytest_disagg.plugin")


def collecting(name: str, project: Path, *more: str) -> Command:
    """``pytest --collect-only -q`` in one of the two projects."""
    argv = (sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *more)
    return Command(name, argv, project, environment(project.parent / "bytecode"))


def write_projects(folder: Path, files: int, mix: str) -> tuple[list[str], int]:
    """Write both projects below ``folder``; the test ids that they have in common, and the case files' bytes."""
    configs = folder / "ours" / "test_configs"
    size = write_config_files(configs, files, mix)
    ids = [case.id for case in list_cases([configs])]
    for name, text in (("ours", OURS), ("plain", PLAIN.format(cases="\n".join(f"    {case!r}," for case in ids)))):
        tests = folder / name / "tests"
        tests.mkdir(parents=True)
        (folder / name / "pytest.ini").write_text(INI)
        (tests / "test_e2e.py").write_text(text)
    return ids, size


def check_same(plain: Command, ours: Command, timeout_s: float) -> None:
    """Both sides must collect the same ids in the same order, or there is nothing to compare."""
    collected = [
        [line for line in output_of(command, timeout_s=timeout_s).stdout.splitlines() if "::" in line]
        for command in (plain, ours)
    ]
    if collected[0] != collected[1]:
        counts = " and ".join(str(len(lines)) for lines in collected)
        raise SystemExit(f"the two sides collect different ids ({counts} of them)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--files", type=int, default=5000, metavar="N", help="case files to write (default: %(default)s)"
    )
    parser.add_argument("--mix", choices=MIXES, default="mixed", help="which files (default: %(default)s)")
    parser.add_argument(
        "--runs", type=int, default=7, metavar="N", help="timed runs of each side (default: %(default)s)"
    )
    parser.add_argument(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="limit of one run (default: %(default)s)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="disagg-collect-") as name:
        folder = Path(name)
        ids, size = write_projects(folder, args.files, args.mix)
        print(f"{args.files} case files ({args.mix}), {size / args.files / 1024:.1f} KiB each, {len(ids)} test ids")
        one = f"tests/test_e2e.py::test_e2e[{ids[len(ids) // 2]}]"
        plain = collecting("plain pytest, all ids", folder / "plain", *NO_PLUGIN)
        ours = collecting("pytest-disagg, all ids", folder / "ours")
        plain_one = collecting("plain pytest, one full id", folder / "plain", *NO_PLUGIN, one)
        ours_one = collecting("pytest-disagg, one full id", folder / "ours", one)
        check_same(plain, ours, args.timeout)
        times = times_of((plain, ours, plain_one, ours_one), args.runs, timeout_s=args.timeout)
    print(table(times))
    for what, over, under in (("all ids", ours, plain), ("one full id", ours_one, plain_one)):
        wall = median(times[over.name].wall_s) / median(times[under.name].wall_s)
        cpu = median(times[over.name].cpu_s) / median(times[under.name].cpu_s)
        print(f"{what}: {wall:.2f} x plain pytest ({cpu:.2f} x in CPU time), medians of {args.runs} runs each in turns")


if __name__ == "__main__":
    main()
