#!/bin/sh
# Compiles the services that are named, static, and puts each that has changed into a folder of its own below target/tilt, whole.
set -eu
cd "$(dirname "$0")/../.."
triple=$(uname -m)-unknown-linux-musl
packages=
for service in "$@"; do packages="$packages -p $service"; done
# shellcheck disable=SC2086 # several words
cargo build --target "$triple" $packages
for service in "$@"; do
    folder=target/tilt/$service
    mkdir -p "$folder"
    cmp -s k8s/dev/run.sh "$folder/run.sh" || cp k8s/dev/run.sh "$folder/run.sh"
    # Beside the folder, since Tilt takes what it sees inside.
    strip --strip-debug -o "$folder.new" "${CARGO_TARGET_DIR:-target}/$triple/debug/$service"
    if cmp -s "$folder.new" "$folder/$service"; then rm "$folder.new"; else mv "$folder.new" "$folder/$service"; fi
done
