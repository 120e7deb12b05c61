#!/usr/bin/env bash
# Makes .venv with this package, editable, and the extras that are named: `tests/venv.sh test,dev`.
set -euo pipefail
cd "$(dirname "$0")/.."
[ -x .venv/bin/python ] || "${PYTHON:-python3}" -m venv .venv
uv=$(bash tests/install/uv.sh)
"$uv" pip install --quiet --python .venv/bin/python --editable ".[$1]"
