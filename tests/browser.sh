#!/usr/bin/env bash
# Installs the Debian packages with which tests look at reports; does nothing where they are there, where we are not root,
# or where this is no Debian: those tests are then skipped and say so.
set -euo pipefail
packages=(chromium poppler-utils)
missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests/browser.sh: not installed: ${missing[*]} (needs root and apt-get); the tests that need them are skipped" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
