#!/usr/bin/env bash
# Installs the Debian packages that tests/slurm needs, and starts none of their services. Does nothing where they are
# there, where we are not root, or where this is no Debian: the tests that need them are then skipped and say so.
# `tests/apt.sh accounting` adds slurmdbd and MariaDB.
set -euo pipefail
packages=(slurmctld slurmd slurm-client munge shellcheck)
[ "${1:-}" != accounting ] || packages+=(slurmdbd mariadb-server)
missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
[ "${#missing[@]}" -gt 0 ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests/apt.sh: not installed: ${missing[*]} (needs root and apt-get); the tests that need them are skipped" >&2
    exit 0
fi
# Packages ask this program whether they may start their services: 101 is no. A machine's own answer stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
