// Shared by the kernels of out = C dense: operands, gate factor g, diagonal d, and the epilogue of a row.
//
//   C = diag(d) + g M,   d = [max(0, ] diagonal [+ offset] [)] [- origin],   g = sigmoid(gate)
#pragma once

#include "cuda/runtime/kernels/tile.cuh"

namespace sigma::cuda {

template <class T>
struct Product {
  int64_t rows;    // r
  int64_t tokens;  // N
  const T* dense;  // (r, N)
  int64_t dense_stride;
  T* out;  // (r, N)
  int64_t out_stride;
  bool aligned;         // whether every row of both is aligned to 16 bytes
  unsigned row_blocks;  // blocks per tile of tokens; they have consecutive indices, so they run at the same time

  const Number<T>* diagonal;  // (r), or null: then d = 0
  const Number<T>* offset;    // (r), or null
  const Number<T>* origin;    // (r), or null
  bool rectified;
  const Number<T>* gate;  // (1), or null: then g = 1

  // M or Mᵀ, in CSR.
  const int32_t* pointers;  // (r + 1)
  const int32_t* indices;   // (z)
  const Number<T>* values;  // (z), in CSR order
};

// In a grid of tiles: the warp's index among the row groups, and its first token.
template <class T>
__device__ __forceinline__ int64_t warp_row(const Product<T>& p) {
  return static_cast<int64_t>(blockIdx.x % p.row_blocks) * kWarps + threadIdx.y;
}
template <class T>
__device__ __forceinline__ int64_t first_token(const Product<T>& p) {
  return static_cast<int64_t>(blockIdx.x / p.row_blocks) * kTile<T>;
}

template <class V>
__device__ __forceinline__ V gate_factor(const V* gate) {
  return gate == nullptr ? V(1) : V(1) / (V(1) + exp(-*gate));
}

template <class T>
__device__ __forceinline__ Number<T> diagonal_at(const Product<T>& p, int64_t i) {
  const Number<T> given = p.offset == nullptr ? p.diagonal[i] : p.diagonal[i] + p.offset[i];
  // A NaN propagates.
  const Number<T> present = p.rectified && given < 0 ? Number<T>(0) : given;
  return p.origin == nullptr ? present : present - p.origin[i];
}

// out[i, tile] = d[i] dense[i, tile] + g sums
template <bool kWhole, class T>
__device__ __forceinline__ void finish_row(const Product<T>& p, int64_t i, int64_t token, Span span, Number<T> g,
                                           const Number<T> (&sums)[kPerVector<T>]) {
  Number<T> result[kPerVector<T>];
  if (p.diagonal != nullptr) {
    const Number<T> d = diagonal_at(p, i);
    load_tile<kWhole>(p.dense + i * p.dense_stride + token, span, result);
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T>; ++l) result[l] = d * result[l] + g * sums[l];
  } else {
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T>; ++l) result[l] = g * sums[l];
  }
  store_tile<kWhole>(p.out + i * p.out_stride + token, span, result);
}

}  // namespace sigma::cuda
