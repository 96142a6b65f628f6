# Makes the WIT folder of a guest that has a world of its own: `wit_folder GUEST-FOLDER INTO`. Sourced by build.sh.
# Our package lies beside the WASI packages, since `deps` is flat.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# `cargo xtask setup` puts the tools there; the system's own serve as well.
export PATH="$root/target/npm/node_modules/.bin:$root/target/venv/bin:$PATH"

wit_folder() {
    mkdir -p "$2/deps/pilothouse-plugin"
    cp -r "$root/wit/deps/." "$2/deps/"
    cp "$root"/wit/*.wit "$2/deps/pilothouse-plugin/"
    cp "$1/world.wit" "$2/"
}
