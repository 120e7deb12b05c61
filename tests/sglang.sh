#!/usr/bin/env bash
# Installs sglang-router (112 MB, without SGLang itself) into a virtual environment of its own in ~/.cache, for
# tests/local/test_sglang_router.py. Does nothing where it is there. Prints the interpreter to be named in
# DISAGG_SGLANG_ROUTER.
set -euo pipefail
version=0.3.2
venv=${XDG_CACHE_HOME:-$HOME/.cache}/pytest-disagg/sglang-router-$version
bash "$(dirname "$0")/install/venv.sh" "$venv" "sglang-router==$version"
echo "$venv/bin/python"
