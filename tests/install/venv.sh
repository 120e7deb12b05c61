#!/usr/bin/env bash
# venv.sh FOLDER ARGUMENT...: a virtual environment with what `uv pip install ARGUMENT...` installs. Does nothing where
# FOLDER has just that; FOLDER/installed says what it has, and is there only when it is whole.
set -euo pipefail
folder=$1
shift
mkdir -p "$(dirname "$folder")"
# Another run of the tests on this machine may want the same.
exec 9>"$folder.lock"
if command -v flock >/dev/null; then flock 9; fi
[ "$(cat "$folder/installed" 2>/dev/null)" != "$*" ] || exit 0
uv=$(bash "$(dirname "$0")/uv.sh")
rm -rf "$folder"
"$uv" venv --quiet --python "${PYTHON:-python3}" "$folder"
"$uv" pip install --quiet --no-cache --python "$folder/bin/python" "$@"
printf '%s' "$*" >"$folder/installed"
