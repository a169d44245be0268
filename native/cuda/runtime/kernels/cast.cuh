// to[i] = from[i] (count). Overwrites. Rounds to nearest, ties to even; a NaN propagates.
#pragma once

#include "cuda/runtime/kernels/tile.cuh"

namespace sigma::cuda {

// Numbers per thread: 16 bytes of the narrower type.
template <class From, class To>
constexpr int kPerCastThread = kPerVector<From> > kPerVector<To> ? kPerVector<From> : kPerVector<To>;

// Rounds to odd, so that rounding again to bfloat16 equals rounding once.
__device__ __forceinline__ float rounded_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  const double back = nearest;
  if (x != x || back == x) return nearest;
  uint32_t bits = __float_as_uint(nearest);
  const bool beyond = x < 0 ? back < x : back > x;
  if (beyond) --bits;  // towards zero
  return __uint_as_float(bits | 1);
}

// Converts a Number<From> to a Number<To> that will be narrowed to a To.
template <class To, class V>
__device__ __forceinline__ Number<To> converted(V x) {
  if constexpr (std::is_same_v<To, bfloat16> && std::is_same_v<V, double>) {
    return rounded_to_odd(x);
  } else {
    return static_cast<Number<To>>(x);
  }
}

template <class From, class To>
__global__ void __launch_bounds__(256) cast_kernel(int64_t count, const From* from, To* to, bool aligned) {
  constexpr int kCount = kPerCastThread<From, To>;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kCount;
  if (first >= count) return;
  const int left = count - first < kCount ? static_cast<int>(count - first) : kCount;
  Number<From> given[kCount];
  SIGMA_UNROLL
  for (int at = 0; at < kCount; at += kPerVector<From>) load_vector(from + first + at, left - at, aligned, given + at);
  Number<To> taken[kCount];
  SIGMA_UNROLL
  for (int l = 0; l < kCount; ++l) taken[l] = converted<To>(given[l]);
  SIGMA_UNROLL
  for (int at = 0; at < kCount; at += kPerVector<To>) store_vector(to + first + at, left - at, aligned, taken + at);
}

}  // namespace sigma::cuda
