// partials[s, j] (+)= Σ_t a[t, j] over the tokens t of split s; a (N, n). Adds if `adds` (one split, `partials` is the
// output), else overwrites.
//
// A lane takes one vector of 16 bytes of columns; the warps of a block take tokens in turn and reduce in shared memory
// (kWarps · 32 · kPerVector numbers).
#pragma once

#include "cuda/runtime/kernels/tile.cuh"

namespace sigma::cuda {

template <class T>
struct ColumnSums {
  int64_t tokens;        // N
  int64_t columns;       // n
  int64_t split_tokens;  // of one split; the last may have fewer
  const T* a;
  int64_t stride;
  bool aligned;         // whether every row is aligned to 16 bytes
  Number<T>* partials;  // (splits, n)
  bool adds;
};

template <class T>
__global__ void __launch_bounds__(kWarpSize* kWarps) column_sums_kernel(ColumnSums<T> p) {
  constexpr int kWidth = kWarpSize * kPerVector<T>;
  Number<T>* const memory = shared_memory<Number<T>>();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kWidth;
  const int at = static_cast<int>(threadIdx.x) * kPerVector<T>;
  const int width = p.columns - first < kWidth ? static_cast<int>(p.columns - first) : kWidth;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * p.split_tokens;
  const int64_t end = begin + p.split_tokens < p.tokens ? begin + p.split_tokens : p.tokens;

  Number<T> sums[kPerVector<T>] = {};
  const T* const from = p.a + first + at;
  SIGMA_UNROLL_BY(4)
  for (int64_t t = begin + threadIdx.y; t < end; t += kWarps) {
    Number<T> numbers[kPerVector<T>];
    load_vector(from + t * p.stride, width - at, p.aligned, numbers);
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T>; ++l) sums[l] += numbers[l];
  }
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) memory[static_cast<int>(threadIdx.y) * kWidth + at + l] = sums[l];
  __syncthreads();

  for (int j = static_cast<int>(threadIdx.y) * kWarpSize + static_cast<int>(threadIdx.x); j < width;
       j += kWarps * kWarpSize) {
    Number<T> sum = 0;
    SIGMA_UNROLL
    for (int w = 0; w < kWarps; ++w) sum += memory[w * kWidth + j];
    Number<T>& to = p.partials[blockIdx.y * p.columns + first + j];
    to = p.adds ? to + sum : sum;
  }
}

}  // namespace sigma::cuda
