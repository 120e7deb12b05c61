#!/usr/bin/env bash
# Sets up all that the tests need (a virtual environment in .venv, and on Debian Slurm's packages) and runs them.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
bash tests/apt.sh accounting || echo "tests/run.sh: tests/apt.sh failed; the tests that need its packages are skipped" >&2
# Fast ones first: a broken unit is known before any process is started.
.venv/bin/python -m pytest --durations=5 -n 2 tests/unit tests/pytester "$@"
# These measure, so nothing runs beside them.
.venv/bin/python -m pytest --durations=5 tests/local "$@"
# These wait for broken runs to end, so two at a time.
.venv/bin/python -m pytest --durations=5 -n 2 tests/faults "$@"
# A real Slurm cluster of four nodes, so one test at a time; skipped where its packages could not be installed.
.venv/bin/python -m pytest --durations=5 tests/slurm "$@"
