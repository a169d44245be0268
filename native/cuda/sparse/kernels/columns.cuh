// Sums over the tokens of columns: sums[j] (+)= Σ_t a[t, j]; a (N, n).
//
// A lane takes one vector of 16 bytes of columns; the warps of a block take tokens in turn and reduce in shared memory
// (kWarps · 32 · kPerVector numbers). If the tokens are split, the last block of a group of columns adds the splits up.
#pragma once

#include "cuda/runtime/kernels/ticket.cuh"

namespace sigma::cuda {

template <class T>
constexpr int kColumnsOfBlock = kWarpSize* kPerVector<T>;

template <class T>
struct ColumnSums {
  int64_t tokens;        // N
  int64_t columns;       // n
  int64_t split_tokens;  // of one split; the last may have fewer
  unsigned splits;
  unsigned groups;  // of kColumnsOfBlock columns
  const T* a;
  int64_t stride;
  bool aligned;     // whether every row is aligned to 16 bytes
  Number<T>* sums;  // (n), or null
  bool adds;
  Number<T>* partials;  // (splits, n), if there are several splits
  unsigned* tickets;    // (groups), likewise
};

// Block `group` of `split`. Shared memory: a ticket, and the block's numbers at `memory`.
template <class T>
__device__ __forceinline__ void sum_columns(const ColumnSums<T>& p, unsigned group, unsigned split, unsigned* ticket,
                                            Number<T>* memory) {
  using V = Number<T>;
  constexpr int kWidth = kColumnsOfBlock<T>;
  const int64_t first = static_cast<int64_t>(group) * kWidth;
  const int at = static_cast<int>(threadIdx.x) * kPerVector<T>;
  const int width = p.columns - first < kWidth ? static_cast<int>(p.columns - first) : kWidth;
  const int64_t begin = static_cast<int64_t>(split) * p.split_tokens;
  const int64_t end = begin + p.split_tokens < p.tokens ? begin + p.split_tokens : p.tokens;

  V sums[kPerVector<T>] = {};
  const T* const from = p.a + first + at;
  SIGMA_UNROLL_BY(4)
  for (int64_t t = begin + threadIdx.y; t < end; t += kWarps) {
    V numbers[kPerVector<T>];
    load_vector(from + t * p.stride, width - at, p.aligned, numbers);
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T>; ++l) sums[l] += numbers[l];
  }
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) memory[static_cast<int>(threadIdx.y) * kWidth + at + l] = sums[l];
  __syncthreads();

  const bool whole = p.splits == 1;
  const int thread = static_cast<int>(threadIdx.y) * kWarpSize + static_cast<int>(threadIdx.x);
  for (int j = thread; j < width; j += kWarps * kWarpSize) {
    V sum = 0;
    SIGMA_UNROLL
    for (int w = 0; w < kWarps; ++w) sum += memory[w * kWidth + j];
    V& to = whole ? p.sums[first + j] : p.partials[split * p.columns + first + j];
    to = whole && p.adds ? to + sum : sum;
  }
  if (whole || !is_last_block(p.tickets + group, p.splits, ticket)) return;
  for (int j = thread; j < width; j += kWarps * kWarpSize) {
    V sum = 0;
    SIGMA_UNROLL_BY(8)
    for (unsigned s = 0; s < p.splits; ++s) sum += p.partials[s * p.columns + first + j];
    V& to = p.sums[first + j];
    to = p.adds ? to + sum : sum;
  }
}

}  // namespace sigma::cuda
