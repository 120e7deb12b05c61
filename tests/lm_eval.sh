#!/usr/bin/env bash
# Installs lm_eval (0.6 GB, without torch) into a virtual environment of its own in ~/.cache, for
# tests/local/test_accuracy_real.py. On demand: tests/run.sh does without it, and that test is skipped.
set -euo pipefail
cd "$(dirname "$0")"
version=$(sed -n 's/^VERSION = "\(.*\)"$/\1/p' local/test_accuracy_real.py)
exec bash install/venv.sh "${XDG_CACHE_HOME:-$HOME/.cache}/pytest-disagg/lm_eval-$version" "lm_eval[api]==$version"
