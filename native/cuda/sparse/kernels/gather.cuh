// out (r, N) = C dense, dense (r, N), for any CSR pattern M, with empty rows and repeated coordinates. Overwrites.
//
// A warp takes a row and a tile of tokens and gathers rows of `dense`. Blocks that run at the same time take the same
// tokens, so that those rows stay in the L2 cache.
#pragma once

#include "cuda/sparse/kernels/product.cuh"

namespace sigma::cuda {

template <bool kWhole, class T>
__device__ __forceinline__ void gather_tile(const Product<T>& p, int64_t i, int64_t token, Span span, Number<T> g) {
  Number<T> sums[kPerVector<T>] = {};
  const int32_t end = p.pointers[i + 1];
  SIGMA_UNROLL_BY(kWhole ? 4 : 1)
  for (int32_t q = p.pointers[i]; q < end; ++q) {
    const Number<T> value = p.values[q];
    Number<T> x[kPerVector<T>];
    load_tile<kWhole>(p.dense + p.indices[q] * p.dense_stride + token, span, x);
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T>; ++l) sums[l] += value * x[l];
  }
  finish_row<kWhole>(p, i, token, span, g, sums);
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kWarps) gather_kernel(Product<T> p) {
  const int64_t i = warp_row(p);
  if (i >= p.rows) return;
  const Number<T> g = gate_factor(p.gate);
  const int64_t t = first_token(p);
  const Span span = span_at<T>(t, p.tokens, p.aligned);
  if (is_whole<T>(span)) {
    gather_tile<true>(p, i, t, span, g);
  } else {
    gather_tile<false>(p, i, t, span, g);
  }
}

// to[q] = values[slots[q]] (count): M's values in the order of Mᵀ. Overwrites.
template <class V>
__global__ void __launch_bounds__(256) permute_kernel(int64_t count, const V* values, const int32_t* slots, V* to) {
  const int64_t q = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (q < count) to[q] = values[slots[q]];
}

}  // namespace sigma::cuda
