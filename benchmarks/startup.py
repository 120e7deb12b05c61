"""What the plugin adds to a pytest start that runs no case of it: a directory with one trivial test, with and without.

    python benchmarks/startup.py --runs 40
    python benchmarks/startup.py --importtime       also the modules imported because of the plugin, the dearest first

"not compiled" is a start whose own modules have no bytecode yet (the first one, or any under
``PYTHONDONTWRITEBYTECODE``): the others show what every later start costs.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from pathlib import Path
from statistics import median

from alternate import Command, environment, output_of, table, times_of

TEST = "def test_nothing():\n    pass\n"
_IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)$", re.MULTILINE)
_SHOWN = 15


def own_import_ms(command: Command, timeout_s: float) -> dict[str, float]:
    """Every module that a command imports with its own time, by ``python -X importtime`` (``-s``: uncaptured)."""
    python, *arguments = command.argv
    argv = (python, "-X", "importtime", *arguments, "-s")
    printed = output_of(Command(command.name, argv, command.cwd, command.environ), timeout_s=timeout_s).stderr
    return {name: int(own_us) / 1000 for own_us, name in _IMPORT.findall(printed)}


def without_bytecode(command: Command, name: str, bytecode: Path, timeout_s: float) -> Command:
    """The same command where everything is compiled but this project's own modules, and they stay so."""
    output_of(command, timeout_s=timeout_s)
    others = bytecode.with_name("bytecode-of-others")
    shutil.copytree(bytecode, others, ignore=shutil.ignore_patterns("pytest_disagg"))
    return Command(name, command.argv, command.cwd, {**environment(others), "PYTHONDONTWRITEBYTECODE": "1"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--runs", type=int, default=40, metavar="N", help="timed runs of each side (default: %(default)s)"
    )
    parser.add_argument("--importtime", action="store_true", help="list what is imported only because of the plugin")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="limit of one run (default: %(default)s)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="disagg-startup-") as name:
        folder = Path(name) / "project"
        folder.mkdir()
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_nothing.py").write_text(TEST)
        start = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
        bytecode = Path(name) / "bytecode"
        environ = environment(bytecode)
        plain = Command("plain pytest", (*start, "-p", "no:pytest_disagg.plugin"), folder, environ)
        ours = Command("with pytest-disagg", start, folder, environ)
        cold = without_bytecode(ours, "with pytest-disagg, not compiled", bytecode, args.timeout)
        times = times_of((plain, ours, cold), args.runs, timeout_s=args.timeout)
        added = own_import_ms(ours, args.timeout) if args.importtime else {}
        present = own_import_ms(plain, args.timeout) if args.importtime else {}
    print(table(times))
    for command in (ours, cold):
        wall = median(times[command.name].wall_s) - median(times[plain.name].wall_s)
        cpu = median(times[command.name].cpu_s) - median(times[plain.name].cpu_s)
        what = f"{command.name}: {1000 * wall:+.1f} ms ({1000 * cpu:+.1f} ms of CPU)"
        print(f"{what}, medians of {args.runs} runs each in turns")
    for module in sorted(added.keys() - present.keys(), key=lambda module: -added[module])[:_SHOWN]:
        print(f"{added[module]:9.3f} ms  {module}")


if __name__ == "__main__":
    main()
