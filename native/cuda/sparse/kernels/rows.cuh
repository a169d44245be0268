// partials[s, i] (+)= Σ_t a[i, t] b[i, t] over the tokens t of split s; a and b (r, N). Skips masked rows. Adds if
// `adds` (one split, `partials` is the output), else overwrites.
//
// A warp takes a split of a row.
#pragma once

#include "cuda/runtime/kernels/reduce.cuh"

namespace sigma::cuda {

template <class T>
struct RowDots {
  int64_t rows;          // r
  int64_t tokens;        // N
  int64_t split_tokens;  // of one split; the last may have fewer
  const T* a;
  int64_t a_stride;
  const T* b;
  int64_t b_stride;
  bool aligned;  // whether every row of both, and every split, is aligned to 16 bytes
  Mask<Number<T>> mask;
  Number<T>* partials;  // (splits, r)
  bool adds;
};

template <bool kWhole, class T>
__device__ __forceinline__ void multiply_tiles(const T* a, const T* b, Span span, Number<T> (&sums)[kPerVector<T>]) {
  Number<T> x[kPerVector<T>], y[kPerVector<T>];
  load_tile<kWhole>(a, span, x);
  load_tile<kWhole>(b, span, y);
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) sums[l] += x[l] * y[l];
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kWarps) row_dots_kernel(RowDots<T> p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (i >= p.rows || !is_wanted(p.mask, i)) return;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * p.split_tokens;
  const int64_t end = begin + p.split_tokens < p.tokens ? begin + p.split_tokens : p.tokens;
  const T* const a = p.a + i * p.a_stride;
  const T* const b = p.b + i * p.b_stride;
  Number<T> sums[kPerVector<T>] = {};
  int64_t t = begin;
  const int64_t whole = p.aligned ? (end - begin) / kTile<T> * kTile<T> : 0;
  SIGMA_UNROLL_BY(4)
  for (; t < begin + whole; t += kTile<T>) multiply_tiles<true>(a + t, b + t, {kTile<T>, true}, sums);
  for (; t < end; t += kTile<T>) multiply_tiles<false>(a + t, b + t, span_at<T>(t, end, p.aligned), sums);

  SIGMA_UNROLL
  for (int width = kPerVector<T> / 2; width > 0; width /= 2) {
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T> / 2; ++l) {
      if (l < width) sums[l] += sums[l + width];
    }
  }
  Number<T> lane_sum[1] = {sums[0]};
  const Number<T> sum = reduce_lanes(lane_sum);
  Number<T>& to = p.partials[blockIdx.y * p.rows + i];
  if (threadIdx.x == 0) to = p.adds ? to + sum : sum;
}

}  // namespace sigma::cuda
