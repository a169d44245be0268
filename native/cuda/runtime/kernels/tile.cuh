// A warp's tile of one row: tokens that lie side by side, one vector of 16 bytes in every lane.
#pragma once

#include "cuda/runtime/kernels/device.cuh"

namespace sigma::cuda {

template <class T>
constexpr int kTile = kWarpSize* kLanes<T>;

// Warps of a block, one below the other: a block is (kWarpSize, kWarps) threads, and threadIdx.x is the lane.
constexpr int kWarps = 8;

// The tokens of a tile that exist, and whether its rows start on multiples of 16 bytes.
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

// Up to a vector's numbers from `from` on; zeros behind the `count` that exist.
template <class T>
__device__ __forceinline__ void load_vector(const T* from, int count, bool aligned, Number<T>* to) {
  if (aligned && count >= kLanes<T>) {
    unpack<T>(load_16_bytes(from), to);
  } else {
    SIGMA_UNROLL
    for (int l = 0; l < kLanes<T>; ++l) to[l] = l < count ? widened(from[l]) : Number<T>(0);
  }
}

template <class T>
__device__ __forceinline__ void store_vector(T* to, int count, bool aligned, const Number<T>* from) {
  if (aligned && count >= kLanes<T>) {
    store_16_bytes(to, pack<T>(from));
  } else {
    SIGMA_UNROLL
    for (int l = 0; l < kLanes<T>; ++l) {
      if (l < count) to[l] = narrowed<T>(from[l]);
    }
  }
}

// The lane's part of a tile that begins at `row`; kWhole promises is_whole(span).
template <bool kWhole, class T>
__device__ __forceinline__ void load_tile(const T* row, Span span, Number<T> (&to)[kLanes<T>]) {
  const int at = static_cast<int>(threadIdx.x) * kLanes<T>;
  load_vector(row + at, kWhole ? kLanes<T> : span.count - at, kWhole || span.aligned, to);
}

template <bool kWhole, class T>
__device__ __forceinline__ void store_tile(T* row, Span span, const Number<T> (&from)[kLanes<T>]) {
  const int at = static_cast<int>(threadIdx.x) * kLanes<T>;
  store_vector(row + at, kWhole ? kLanes<T> : span.count - at, kWhole || span.aligned, from);
}

}  // namespace sigma::cuda
