#!/usr/bin/env bash
# Sets up all that the tests need (a virtual environment in .venv, and on Debian Slurm's packages) and runs them.
# Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
# Thousands of processes import the package here: without bytecode each of them would compile it.
unset PYTHONDONTWRITEBYTECODE
python=${PYTHON:-python3}
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
# What each of these installs only some tests need; those are skipped, and say so, where it could not be installed.
bash tests/browser.sh || echo "tests/run.sh: tests/browser.sh failed" >&2
bash tests/opensearch.sh || echo "tests/run.sh: tests/opensearch.sh failed" >&2
bash tests/apt.sh accounting || echo "tests/run.sh: tests/apt.sh failed; the tests that need its packages are skipped" >&2
measuring=(tests/local/{native,sim,test_{benchmarks,docs_engine,edges,endings,truth,verdicts}.py})
alone=("${measuring[@]/#/--ignore=}")
# Fast ones first: a broken unit is known before any process is started.
.venv/bin/python -m pytest --durations=5 -n 2 tests/unit tests/pytester "$@"
# These measure, so nothing runs beside them.
.venv/bin/python -m pytest --durations=5 "${measuring[@]}" "$@"
# These wait for broken runs to end, start programs, or draw, so two at a time.
.venv/bin/python -m pytest --durations=5 -n 2 "${alone[@]}" tests/faults tests/local "$@"
# A real OpenSearch; skipped where it could not be installed.
.venv/bin/python -m pytest --durations=5 tests/opensearch "$@"
# Real Slurm clusters of four nodes, one for each of two workers; skipped where the packages could not be installed.
.venv/bin/python -m pytest --durations=5 -n 2 --dist worksteal tests/slurm "$@"
