#!/usr/bin/env bash
# The binary for production, target/guided/warmroute: built, run under load to see which way requests go, and built again for that
# (profile-guided optimization). It answers as the other builds do, with less CPU; two long builds, a quarter of an hour on two cores.
# Where LLVM's BOLT is installed (Debian: bolt-19), the second binary is watched in the same way, and its code put in order by that.
set -euo pipefail
cd "$(dirname "$0")/.."

host=$(rustc --print host-tuple)
tools=$(rustc --print sysroot)/lib/rustlib/$host/bin
[[ -x $tools/llvm-profdata ]] || rustup component add llvm-tools

# By its real path, from which it finds its library.
bolt=$(command -v llvm-bolt || find /usr/lib -maxdepth 3 -path '*/bin/llvm-bolt' | sort --version-sort | tail -1)
bolt=${bolt:+$(readlink -f "$bolt")}

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
build guided "-Cprofile-use=$PWD/target/guided/load.profdata ${bolt:+-Clink-arg=-Wl,--emit-relocs}"
cp "target/guided/guided/$host/dist/warmroute" target/guided/warmroute

if [[ $bolt ]]; then
  "$bolt" target/guided/warmroute -instrument -instrumentation-file="$profiles/gateway" -instrumentation-file-append-pid \
    -o target/guided/watched >target/guided/bolt.log
  python3 scripts/train.py target/guided/watched "$profiles" --workers target/guided/warmroute
  "$(dirname "$bolt")/merge-fdata" "$profiles"/*.fdata >target/guided/load.fdata
  "$bolt" target/guided/warmroute -data=target/guided/load.fdata -reorder-blocks=ext-tsp -reorder-functions=cdsort \
    -split-functions -split-all-cold -split-eh -icf=1 -plt=hot -o target/guided/ordered >>target/guided/bolt.log
  # A program that does not say so gets stacks that can be executed.
  if ! readelf --program-headers --wide target/guided/ordered | grep 'GNU_STACK.* RW ' >/dev/null; then
    echo "BOLT has lost the mark that stacks are not to be executed; hint: target/guided/bolt.log, or without BOLT" >&2
    exit 1
  fi
  mv target/guided/ordered target/guided/warmroute
else
  echo "without BOLT, which makes a request with 8 kB some percent cheaper; hint: apt-get install bolt-19" >&2
fi
echo "target/guided/warmroute"
