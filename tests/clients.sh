#!/usr/bin/env bash
# Installs load generators for tests/local/clients/test_real.py and benchmarks/peers.py, each into an environment of its
# own in ~/.cache: `bash tests/clients.sh [aiperf] [vllm] [sglang]`, aiperf alone where none is named. Prints the folder of
# each, for DISAGG_AIPERF and the like. Does nothing where that version is there; where it cannot install, its test is
# skipped and says so.
set -euo pipefail
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pytest-disagg/clients
python=${PYTHON:-python3}
for name in "${@:-aiperf}"; do
    case $name in
        aiperf) wanted=aiperf==0.13.0 ;;    # 0.9 GB
        vllm) wanted=vllm==0.33.0 ;;        # 9 GB with its torch
        sglang) wanted=sglang==0.5.23 ;;    # 9 GB with its torch
        *)
            echo "tests/clients.sh: found $name, expected aiperf, vllm or sglang" >&2
            exit 2
            ;;
    esac
    folder=$cache/$name
    if [ "$(cat "$folder/installed" 2>/dev/null)" = "$wanted" ]; then
        echo "$folder"
        continue
    fi
    rm -rf "$folder"
    mkdir -p "$cache"
    if ! { "$python" -m venv "$folder" &&
        "$folder/bin/python" -m pip install --quiet --disable-pip-version-check uv &&
        echo certifi >"$folder/overrides.txt" && # some ask for one that the registry does not have yet
        "$folder/bin/uv" pip install --quiet --overrides "$folder/overrides.txt" --python "$folder/bin/python" "$wanted"; }; then
        rm -rf "$folder"
        echo "tests/clients.sh: $wanted could not be installed; its test is skipped" >&2
        continue
    fi
    echo "$wanted" >"$folder/installed"
    echo "$folder"
done
