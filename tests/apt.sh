#!/usr/bin/env bash
# Installs the Debian packages that tests/slurm needs; without them those tests are skipped and say so.
# `tests/apt.sh accounting` adds slurmdbd and MariaDB.
set -euo pipefail
packages=(slurmctld slurmd slurm-client munge shellcheck)
[ "${1:-}" != accounting ] || packages+=(slurmdbd mariadb-server)
exec bash "$(dirname "$0")/install/debian.sh" "${packages[@]}"
