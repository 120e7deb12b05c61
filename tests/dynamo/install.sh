#!/usr/bin/env bash
# Installs what tests/dynamo needs: Dynamo's frontend and its CPU mocker in a virtual environment of its own below
# ~/.cache (0.5 GB, no torch), and Debian's etcd and NATS. Does nothing where it is there; without them those tests are
# skipped and say so. Prints the interpreter to be named in DISAGG_DYNAMO_PYTHON.
set -euo pipefail
cd "$(dirname "$0")"
bash ../install/debian.sh etcd-server nats-server || [ $? -eq 3 ] # runs that need neither go on
version=$(sed -n 's/^ai-dynamo==//p' requirements.txt)
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'; then
    echo "tests/dynamo/install.sh: Dynamo $version runs on Python 3.10 to 3.12, not on $("$python" -V) (PYTHON names another)" >&2
    exit 3
fi
venv=${XDG_CACHE_HOME:-$HOME/.cache}/pytest-disagg/dynamo-$version
# Only uv can leave out dependencies that cannot be installed: pip has no overrides.
bash ../install/venv.sh "$venv" -r requirements.txt --overrides overrides.txt
if ! "$venv/bin/python" -c 'import dynamo.frontend, dynamo.mocker'; then
    echo "tests/dynamo/install.sh: Dynamo $version was installed into $venv, and cannot be imported" >&2
    exit 1
fi
echo "$venv/bin/python"
