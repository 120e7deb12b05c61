#!/usr/bin/env bash
# Installs the Debian packages with which tests look at reports; without them those tests are skipped and say so.
set -euo pipefail
exec bash "$(dirname "$0")/install/debian.sh" chromium poppler-utils
