#!/usr/bin/env bash
# Rebuilds the CUDA backend for the card of this machine, where a CUDA 13 toolkit and g++ are: ./rebuild.sh [nvcc].
# The same as CMakeLists.txt does, in one line and for one architecture.
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")"
nvcc=${1:-$(command -v nvcc || ls -d /usr/local/cuda*/bin/nvcc 2>/dev/null | tail -n 1)}
[ -n "$nvcc" ] || { echo 'nvcc is not there; name it: ./rebuild.sh /path/to/nvcc' >&2; exit 2; }
mkdir -p build-cuda
set -x
"$nvcc" -std=c++20 -O3 -DNDEBUG -arch="${SIGMATUNE_ARCH:-native}" -shared -cudart static -I native \
  -Xcompiler -fPIC,-fvisibility=hidden,-ffp-contract=fast,-fno-math-errno,-fno-trapping-math \
  native/cuda/*/*.cu native/cuda/*.cc native/cuda/*/*.cc -Xlinker -z,now -Xlinker -z,nodelete -ldl -lpthread -lrt \
  -o build-cuda/libsigmatune_cuda.so
