#!/usr/bin/env bash
# Builds the JavaScript guest: build.sh OUT.wasm. Needs `jco` 1.34.0, which `cargo xtask setup test` installs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../wit-folder.sh"
out=$(realpath "${1:?usage: build.sh OUT.wasm}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wit_folder "$here" "$work/wit"

# `stdio` stays on, or a trap would have no text; the rest of the engine's own imports is left out.
jco componentize "$here/guest.js" --wit "$work/wit" --world-name guest --disable random --disable clocks --out "$out"
