"""What the plugin adds to a pytest start that runs no case of it: a directory with one trivial test, with and without.

    python benchmarks/startup.py --runs 40
    python benchmarks/startup.py --importtime       also which modules the plugin imports, the dearest first
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from pathlib import Path
from statistics import median

from alternate import Command, clean_environ, head, output_of, row, seconds_of

TEST = "def test_nothing():\n    pass\n"
_IMPORT = re.compile(r"^import time:\s+(\d+) \|\s+(\d+) \|( *)(\S+)$", re.MULTILINE)
_SHOWN = 15


def imports(command: Command, timeout_s: float) -> dict[str, int]:
    """Every module that a command imports, with its own time in microseconds, as ``python -X importtime`` says."""
    argv = (command.argv[0], "-X", "importtime", *command.argv[1:])
    printed = output_of(Command(command.name, argv, command.cwd), timeout_s=timeout_s, environ=clean_environ())[1]
    return {name: int(own_us) for own_us, _, _, name in _IMPORT.findall(printed)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=40, metavar="N", help="timed runs of each side (default: %(default)s)")
    parser.add_argument("--importtime", action="store_true", help="list what is imported only because of the plugin")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="limit of one run (default: %(default)s)"
    )
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="disagg-startup-") as name:
        folder = Path(name)
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "test_nothing.py").write_text(TEST)
        start = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
        plain = Command("plain pytest", (*start, "-p", "no:pytest_disagg.plugin"), folder)
        ours = Command("with pytest-disagg", start, folder)
        times = seconds_of((plain, ours), args.runs, timeout_s=args.timeout)
        added = imports(ours, args.timeout) if args.importtime else {}
        present = imports(plain, args.timeout) if args.importtime else {}
    print(head())
    for side, seconds in times.items():
        print(row(side, seconds, unit="ms"))
    print(f"difference: {1000 * (median(times[ours.name]) - median(times[plain.name])):.1f} ms; {args.runs} runs each")
    for module in sorted(added.keys() - present.keys(), key=lambda module: -added[module])[:_SHOWN]:
        print(f"{added[module] / 1000:9.3f} ms  {module}")


if __name__ == "__main__":
    main()
