#!/usr/bin/env bash
# Builds local stand-ins for the two images the Dockerfile starts from, for machines that can reach a Debian mirror but no
# image registry. Afterwards `docker build .` and `docker-compose up` work as they do elsewhere.
#
#   sudo scripts/base-image.sh
#
# BASE_IMAGE, RUST_IMAGE   the tags to give; the Dockerfile's defaults if unset
# DEBIAN_MIRROR            where packages come from
#
# Needs root, docker, debootstrap and a Rust toolchain, whose compiler is copied into the builder image. The machine's
# trusted certificates are copied too, so that whatever can be downloaded here can be downloaded in a build.
set -euo pipefail

base_image=${BASE_IMAGE:-debian:bookworm-slim}
rust_image=${RUST_IMAGE:-rust:1.95-slim-bookworm}
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
sysroot=$(rustc --print sysroot)
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
root=$work/root

import() { # tag
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  tar --create --directory "$root" --one-file-system . |
    docker import --change 'ENV PATH=/opt/rust/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin' --change 'CMD ["bash"]' - "$1"
}

debootstrap --variant=minbase --include=ca-certificates bookworm "$root" "$mirror"
cp --dereference /etc/ssl/certs/ca-certificates.crt "$root"/etc/ssl/certs/ca-certificates.crt
import "$base_image"

# gcc links, and compiles the few C files among the dependencies.
chroot "$root" apt-get update --quiet --quiet
DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get install --yes --quiet --quiet --no-install-recommends gcc libc6-dev
mkdir --parents "$root"/opt/rust
tar --create --directory "$sysroot" --exclude=share/doc --exclude=share/man . | tar --extract --directory "$root"/opt/rust
import "$rust_image"

docker run --rm "$rust_image" cargo --version
