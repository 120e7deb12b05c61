#!/usr/bin/env bash
# Installs the Debian packages that are named, and starts none of their services. Does nothing where they are there. Where
# they cannot be installed (we are not root, this is no Debian) it says so and ends with 3: what needs them is skipped.
set -euo pipefail
missing=()
for package in "$@"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "not installed: ${missing[*]} (needs root and apt-get); the tests that need them are skipped" >&2
    exit 3
fi
# One run of the tests at a time; others' use of the archive is waited for, too.
exec 9>"${TMPDIR:-/tmp}/pytest-disagg-apt.lock"
if command -v flock >/dev/null; then flock 9; fi
# Packages ask this program whether they may start their services: 101 is no. A machine's own answer stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
# Several of these run one after the other: one look at the archive is enough for all.
[ -n "$(find /var/cache/apt/pkgcache.bin -mmin -10 2>/dev/null)" ] || apt-get update -qq
apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
