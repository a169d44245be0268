// out (r, N) = diag(d) dense, dense (r, N); zeros if the core has no diagonal. Overwrites.
//
// A warp takes a row and a tile of tokens.
#pragma once

#include "cuda/sparse/kernels/product.cuh"

namespace sigma::cuda {

template <bool kWhole, class T>
__device__ __forceinline__ void scale_tile(const Product<T>& p, int64_t i, int64_t token, Span span) {
  Number<T> numbers[kPerVector<T>] = {};
  if (p.diagonal != nullptr) {
    const Number<T> d = diagonal_at(p, i);
    load_tile<kWhole>(p.dense + i * p.dense_stride + token, span, numbers);
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T>; ++l) numbers[l] = d * numbers[l];
  }
  store_tile<kWhole>(p.out + i * p.out_stride + token, span, numbers);
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kWarps) diagonal_kernel(Product<T> p) {
  const int64_t i = warp_row(p);
  if (i >= p.rows) return;
  const int64_t t = first_token(p);
  const Span span = span_at<T>(t, p.tokens, p.aligned);
  if (is_whole<T>(span)) {
    scale_tile<true>(p, i, t, span);
  } else {
    scale_tile<false>(p, i, t, span);
  }
}

}  // namespace sigma::cuda
