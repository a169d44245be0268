// A warp's tile: contiguous tokens of one row, one vector of 16 bytes per lane.
#pragma once

#include "cuda/runtime/kernels/device.cuh"

namespace sigma::cuda {

template <class T>
constexpr int kTile = kWarpSize* kPerVector<T>;

// Warps per block. A block has (kWarpSize, kWarps) threads; threadIdx.x is the lane.
constexpr int kWarps = 8;

// How many tokens of a tile exist, and whether its rows are aligned to 16 bytes.
struct Span {
  int count;
  bool aligned;
};

template <class T>
__device__ __forceinline__ Span span_at(int64_t token, int64_t tokens, bool aligned) {
  const int64_t left = tokens - token;
  return {left < kTile<T> ? static_cast<int>(left) : kTile<T>, aligned};
}

template <class T>
__device__ __forceinline__ bool is_whole(Span span) {
  return span.aligned && span.count == kTile<T>;
}

// Loads a vector of which `count` numbers exist; the rest is zero.
template <class T>
__device__ __forceinline__ void load_vector(const T* from, int count, bool aligned, Number<T>* to) {
  if (aligned && count >= kPerVector<T>) {
    unpack<T>(load_16_bytes(from), to);
  } else {
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T>; ++l) to[l] = l < count ? widened(from[l]) : Number<T>(0);
  }
}

template <class T>
__device__ __forceinline__ void store_vector(T* to, int count, bool aligned, const Number<T>* from) {
  if (aligned && count >= kPerVector<T>) {
    store_16_bytes(to, pack<T>(from));
  } else {
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T>; ++l) {
      if (l < count) to[l] = narrowed<T>(from[l]);
    }
  }
}

// Loads the lane's vector of a tile that begins at `row`. kWhole implies is_whole(span).
template <bool kWhole, class T>
__device__ __forceinline__ void load_tile(const T* row, Span span, Number<T> (&to)[kPerVector<T>]) {
  const int at = static_cast<int>(threadIdx.x) * kPerVector<T>;
  load_vector(row + at, kWhole ? kPerVector<T> : span.count - at, kWhole || span.aligned, to);
}

template <bool kWhole, class T>
__device__ __forceinline__ void store_tile(T* row, Span span, const Number<T> (&from)[kPerVector<T>]) {
  const int at = static_cast<int>(threadIdx.x) * kPerVector<T>;
  store_vector(row + at, kWhole ? kPerVector<T> : span.count - at, kWhole || span.aligned, from);
}

}  // namespace sigma::cuda
