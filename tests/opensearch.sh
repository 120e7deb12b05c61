#!/usr/bin/env bash
# Installs what tests/opensearch needs: Debian's Maven, Java, nginx and htpasswd, and an OpenSearch from Maven Central in
# ~/.cache. Does nothing where it is there; where it cannot install, those tests are skipped and say so.
set -euo pipefail
cd "$(dirname "$0")"
packages=(maven nginx-light apache2-utils)
command -v java >/dev/null || packages+=(openjdk-17-jre-headless)
bash install/debian.sh "${packages[@]}"
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
