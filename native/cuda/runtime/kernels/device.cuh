// The device functions that kernels use: CUDA's under nvcc, and under a host compiler those of test/cuda/shim, which
// runs the same kernel sources thread by thread.
//
// Kernels get shared memory from shared_memory() only, because the shim cannot simulate a static __shared__ array. They
// read vectors of 16 bytes if they can, and compute in the vectors' type (see sigma_real).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#ifdef __CUDACC__

// Unrolls the next loop, completely or by `count`.
#define SIGMA_PRAGMA(text) _Pragma(#text)
#define SIGMA_UNROLL SIGMA_PRAGMA(unroll)
#define SIGMA_UNROLL_BY(count) SIGMA_PRAGMA(unroll count)

// A parameter of a kernel that is read in place, not copied to each thread.
#define SIGMA_IN_PLACE __grid_constant__

namespace sigma::cuda {

// The block's dynamic shared memory, aligned to 16 bytes.
template <class T>
__device__ __forceinline__ T* shared_memory() {
  extern __shared__ __align__(16) unsigned char block_memory[];
  return reinterpret_cast<T*>(block_memory);
}

__device__ __forceinline__ uint4 load_16_bytes(const void* from) { return *static_cast<const uint4*>(from); }
__device__ __forceinline__ void store_16_bytes(void* to, uint4 bytes) { *static_cast<uint4*>(to) = bytes; }

}  // namespace sigma::cuda

#else
#include "shim.h"
#endif

namespace sigma::cuda {

constexpr int kWarpSize = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

struct bfloat16 {
  uint16_t bits;
};

// The type of the vectors that go with matrices of T, and of all arithmetic.
template <class T>
using Number = std::conditional_t<std::is_same_v<T, bfloat16>, float, T>;

// Numbers of T in a vector of 16 bytes.
template <class T>
constexpr int kPerVector = 16 / static_cast<int>(sizeof(T));

// ── bfloat16 ─────────────────────────────────────────────────────────────────────────────────────────────

// Rounds to nearest, ties to even; a NaN propagates.
__device__ __forceinline__ uint32_t rounded_to_bfloat16(float x) {
  const uint32_t bits = __float_as_uint(x);
  if (x != x) return 0x7fff;
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

// Two bfloat16 in one word, `low` in the lower half.
__device__ __forceinline__ uint32_t bfloat16_pair(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
#else
  return rounded_to_bfloat16(low) | rounded_to_bfloat16(high) << 16;
#endif
}

__device__ __forceinline__ float widened(float x) { return x; }
__device__ __forceinline__ double widened(double x) { return x; }
__device__ __forceinline__ float widened(bfloat16 x) { return __uint_as_float(static_cast<uint32_t>(x.bits) << 16); }

template <class T>
__device__ __forceinline__ T narrowed(Number<T> x) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    return {static_cast<uint16_t>(bfloat16_pair(x, 0.0f))};
  } else {
    return x;
  }
}

// ── vectors of 16 bytes ──────────────────────────────────────────────────────────────────────────────────

template <class T>
__device__ __forceinline__ void unpack(uint4 bytes, Number<T>* to) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    const uint32_t words[4] = {bytes.x, bytes.y, bytes.z, bytes.w};
    SIGMA_UNROLL
    for (int w = 0; w < 4; ++w) {
      to[2 * w] = __uint_as_float(words[w] << 16);
      to[2 * w + 1] = __uint_as_float(words[w] & 0xffff0000u);
    }
  } else if constexpr (std::is_same_v<T, float>) {
    to[0] = __uint_as_float(bytes.x);
    to[1] = __uint_as_float(bytes.y);
    to[2] = __uint_as_float(bytes.z);
    to[3] = __uint_as_float(bytes.w);
  } else {
    to[0] = __hiloint2double(static_cast<int>(bytes.y), static_cast<int>(bytes.x));
    to[1] = __hiloint2double(static_cast<int>(bytes.w), static_cast<int>(bytes.z));
  }
}

template <class T>
__device__ __forceinline__ uint4 pack(const Number<T>* from) {
  uint4 bytes;
  if constexpr (std::is_same_v<T, bfloat16>) {
    bytes.x = bfloat16_pair(from[0], from[1]);
    bytes.y = bfloat16_pair(from[2], from[3]);
    bytes.z = bfloat16_pair(from[4], from[5]);
    bytes.w = bfloat16_pair(from[6], from[7]);
  } else if constexpr (std::is_same_v<T, float>) {
    bytes.x = __float_as_uint(from[0]);
    bytes.y = __float_as_uint(from[1]);
    bytes.z = __float_as_uint(from[2]);
    bytes.w = __float_as_uint(from[3]);
  } else {
    bytes.x = static_cast<uint32_t>(__double2loint(from[0]));
    bytes.y = static_cast<uint32_t>(__double2hiint(from[0]));
    bytes.z = static_cast<uint32_t>(__double2loint(from[1]));
    bytes.w = static_cast<uint32_t>(__double2hiint(from[1]));
  }
  return bytes;
}

}  // namespace sigma::cuda
