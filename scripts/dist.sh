#!/usr/bin/env bash
# The binary for production, target/guided/warmroute: built, run under load to see which way requests go, and built again for that
# (profile-guided optimization). It answers as the other builds do, with less CPU; two long builds, a quarter of an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc --print host-tuple)
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
[[ -x $tools/llvm-profdata ]] || rustup component add llvm-tools

# Always the same place: cargo builds anew what is built with other flags.
profiles=$PWD/target/guided/profiles
rm -rf "$profiles"
mkdir -p "$profiles"

# With a target named, the flags are not for build scripts and macros, which run while the compiler does.
build() {
  RUSTFLAGS="${RUSTFLAGS:-} $2" cargo build --locked --profile dist --bin warmroute --target "$host" --target-dir "target/guided/$1"
}

build counting "-Cprofile-generate=$profiles"
python3 scripts/train.py "target/guided/counting/$host/dist/warmroute" "$profiles"
# Sparse: what the load never ran is built as if nothing were known of it, not as if it were never run.
"$tools/llvm-profdata" merge --sparse --output target/guided/load.profdata "$profiles"/*.profraw
build guided "-Cprofile-use=$PWD/target/guided/load.profdata"
cp "target/guided/guided/$host/dist/warmroute" target/guided/warmroute
echo "target/guided/warmroute"
