#!/usr/bin/env bash
# Builds the Python guest: build.sh OUT.wasm. Needs `componentize-py` 0.25.1, which `cargo xtask setup test` installs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../wit-folder.sh"
out=$(realpath "${1:?usage: build.sh OUT.wasm}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wit_folder "$here" "$work/wit"

# Full names, so that an import does not change its name when the world gets another one.
componentize-py --wit-path "$work/wit" --world guest --full-names componentize --python-path "$here" guest --output "$out"
