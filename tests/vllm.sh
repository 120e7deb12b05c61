#!/usr/bin/env bash
# Installs vllm-router (101 MB, no vLLM) into a virtual environment of its own in ~/.cache, for tests/local/test_vllm.py.
# Does nothing where it is there.
set -euo pipefail
cd "$(dirname "$0")"
version=$(sed -n 's/^ROUTER_VERSION = "\(.*\)"$/\1/p' local/test_vllm.py)
exec bash install/venv.sh "${XDG_CACHE_HOME:-$HOME/.cache}/pytest-disagg/vllm-router-$version" "vllm-router==$version"
