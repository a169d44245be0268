#!/usr/bin/env bash
# Runs this package's tests and benchmarks on the CUDA card of a machine that has neither network nor Node:
#   ./run.sh [out-folder] [--stages suite,bench,torch,svd,model,sanitizer] [--seconds 450] [--words matmul,sparse] [--dry]
# Lies next to sigmatune-gpu.tar.xz, which it unpacks, or in the folder that came of it. Each stage ends within --seconds.
# report.json, report.md and logs come into the out-folder. Exit codes: 0 all is well, 1 something failed, 2 the command
# is wrong, 3 there is no card.
set -u
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd) || exit 2

out=$PWD/sigmatune-gpu-out
if [ $# -gt 0 ] && [ "${1#-}" = "$1" ]; then
  mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 2
  shift
fi

unpack() {
  if command -v tar >/dev/null && command -v xz >/dev/null; then
    tar -xJf "$1" -C "$2"
  elif command -v python3 >/dev/null; then
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$1" "$2"
  else
    echo 'neither xz nor python3 is there to unpack the bundle' >&2
    return 1
  fi
}

home=$here
if [ ! -x "$home/node/node" ]; then
  home=$here/sigmatune-gpu
  [ -w "$here" ] || home=${TMPDIR:-/tmp}/sigmatune-gpu-$(id -u)
  if [ ! -x "$home/node/node" ]; then
    echo "unpacking to $home" >&2
    rm -rf "$home.unfinished"
    mkdir -p "$home.unfinished" && unpack "$here/sigmatune-gpu.tar.xz" "$home.unfinished" && rm -rf "$home" &&
      mv "$home.unfinished/sigmatune-gpu" "$home" && rmdir "$home.unfinished" ||
      { echo "$here/sigmatune-gpu.tar.xz could not be unpacked to $home" >&2; exit 2; }
  fi
fi

# The system's C++ library is taken where it will do.
node=$home/node/node
if ! "$node" --version >/dev/null 2>&1; then
  export LD_LIBRARY_PATH=$home/node/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  "$node" --version >/dev/null || { echo 'Node does not run on this system (it takes glibc 2.28)' >&2; exit 2; }
fi

# The backend looks for pip's wheels in the usual places and in these two.
if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && command -v python3 >/dev/null; then
  prefix=$(python3 -c 'import sys; print(sys.prefix)' 2>/dev/null) && export VIRTUAL_ENV=$prefix
fi

cd "$home" || exit 2
exec "$node" scripts/gpu/run.mjs --out "$out" "$@"
