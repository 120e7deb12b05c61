#!/usr/bin/env bash
# Installs load generators for tests/local/clients/test_real.py and benchmarks/peers.py, each into an environment of its
# own in ~/.cache: `bash tests/clients.sh [aiperf] [vllm] [sglang]`, aiperf alone where none is named. Prints the folder of
# each, for DISAGG_AIPERF and the like. Does nothing where that version is there.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pytest-disagg/clients
mkdir -p "$cache"
overrides=$cache/overrides.txt
for name in "${@:-aiperf}"; do
    case $name in
        aiperf) wanted=aiperf==0.13.0 ;;    # 0.8 GB
        vllm) wanted=vllm==0.33.0 ;;        # 9 GB with its torch
        sglang) wanted=sglang==0.5.23 ;;    # 9 GB with its torch
        *)
            echo "tests/clients.sh: found $name, expected aiperf, vllm or sglang" >&2
            exit 2
            ;;
    esac
    echo certifi >"$overrides" # some ask for one that the registry does not have yet
    bash "$(dirname "$0")/install/venv.sh" "$cache/$name" --overrides "$overrides" "$wanted"
    echo "$cache/$name"
done
