#!/usr/bin/env bash
# Sets up all that the tests need (a virtual environment in .venv, Debian packages, tools in ~/.cache) and runs them.
# Arguments go to pytest. With CHECKS=1 style, types and layers are looked at first.
set -euo pipefail
cd "$(dirname "$0")/.."
# Thousands of processes import the package here: without bytecode each of them would compile it.
unset PYTHONDONTWRITEBYTECODE

# What each of these installs only some tests need; those are skipped, and say so, where it could not be installed. They
# run beside all that needs none of it, one after the other (dpkg has one lock), the first needed first.
installers=(browser.sh "apt.sh accounting" opensearch.sh sglang.sh vllm.sh dynamo/install.sh clients.sh)
logs=$(mktemp -d)
install_all() {
    local installer words log
    for installer in "${installers[@]}"; do
        read -ra words <<<"$installer"
        log=$logs/${words[0]//\//.}
        (cd tests && exec nice bash "${words[@]}") >"$log" 2>&1 </dev/null ||
            echo "tests/run.sh: tests/${words[0]} failed" >>"$log"
        mv "$log" "$log.done"
    done
}
# Waits until these have run, and shows what they said.
installed() {
    local script log
    for script in "$@"; do
        log=$logs/${script//\//.}.done
        until [ -e "$log" ] || ! kill -0 "$installing" 2>/dev/null; do sleep 0.2; done
        cat "$log" >&2
    done
}
install_all &
installing=$!
opensearch=
# After a failure nothing more is installed; what is under way ends by itself: dpkg is not to be killed. A server is
# stopped by the tests that started it.
trap 'kill "$installing" 2>/dev/null || true; kill -INT $opensearch 2>/dev/null || true; rm -rf "$logs"' EXIT

bash tests/venv.sh "test${CHECKS:+,dev}"
if [ -n "${CHECKS:-}" ]; then
    .venv/bin/ruff check .
    .venv/bin/ruff format --check .
    .venv/bin/lint-imports
    .venv/bin/mypy
fi
measuring=(tests/local/{native,clients/test_real.py,test_{docs_engine,edges,endings,prepared_run,rerun,truth,verdicts}.py})
alone=("${measuring[@]/#/--ignore=}")
tests=(.venv/bin/python -m pytest --durations=5)

# Fast ones first: a broken unit is known before any process is started. The tests of pages and PDF files look at them.
installed browser.sh
"${tests[@]}" -n 2 tests/unit tests/pytester "$@"
# Real Slurm clusters of four nodes, one for each of two workers; beside them a real OpenSearch, which waits most of the time.
installed apt.sh opensearch.sh
"${tests[@]}" tests/opensearch "$@" >"$logs/opensearch" 2>&1 &
opensearch=$!
failed=0
"${tests[@]}" -n 2 --dist worksteal tests/slurm "$@" || failed=$?
wait "$opensearch" || failed=$?
opensearch=
cat "$logs/opensearch"
[ "$failed" -eq 0 ] || exit "$failed"
# These wait for broken runs to end, start programs, or draw: more of them at a time than there are cores.
installed sglang.sh vllm.sh dynamo/install.sh clients.sh
"${tests[@]}" -n 3 --dist worksteal "${alone[@]}" tests/faults tests/local tests/dynamo "$@"
# These measure, so nothing runs beside them.
"${tests[@]}" "${measuring[@]}" "$@"
