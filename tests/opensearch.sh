#!/usr/bin/env bash
# Installs what tests/opensearch needs: Debian's Maven, Java, nginx and htpasswd, and an OpenSearch from Maven Central in
# ~/.cache. Does nothing where it is there; where it cannot install, those tests are skipped and say so.
set -euo pipefail
cd "$(dirname "$0")"
packages=(maven nginx-light apache2-utils)
command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "tests/opensearch.sh: not installed: ${missing[*]} (needs root and apt-get); the tests that need them are skipped" >&2
        exit 0
    fi
    # A package must not start its service here: the tests start their own and stop them.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
version=$(sed -n 's:.*<version>\([0-9][0-9.]*\.[0-9.]*\)</version>.*:\1:p' opensearch/pom.xml)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pytest-disagg-opensearch/$version
[ ! -d "$cache/lib" ] || exit 0
mkdir -p "$cache"
folder=$(mktemp -d "$cache/lib.XXXXXX")
if ! mvn -q -B -f opensearch/pom.xml dependency:copy-dependencies -DoutputDirectory="$folder"; then
    rm -rf "$folder"
    echo "tests/opensearch.sh: Maven Central gave no OpenSearch $version; the tests that need it are skipped" >&2
    exit 0
fi
mv "$folder" "$cache/lib" 2>/dev/null || rm -rf "$folder"
