#!/usr/bin/env bash
# Builds the C guest: build.sh OUT.wasm. Needs Debian's clang-19, lld-19, wasi-libc and libclang-rt-19-dev-wasm32, which
# `cargo xtask setup test` installs. The bindings are made anew from wit/ by the small program in tool/.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source "$here/../wit-folder.sh"
out=$(realpath "${1:?usage: build.sh OUT.wasm}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
wit_folder "$here" "$work/wit"

target="$root/target/guests"
cargo build --quiet --manifest-path "$here/tool/Cargo.toml" --target-dir "$target"
tool="$target/debug/pilothouse-c-tool"

mkdir "$work/bindings"
"$tool" bindings "$work/wit" "$work/bindings"
# A reactor is a library: it has exports and no `main`.
clang-19 --target=wasm32-wasi --sysroot=/usr -mexec-model=reactor -Oz -Wall -Wextra -Wno-unused-parameter \
    -I "$work/bindings" -o "$work/module.wasm" \
    "$here/guest.c" "$work/bindings/guest.c" "$work/bindings/guest_component_type.o"
"$tool" component "$work/module.wasm" "$out"
