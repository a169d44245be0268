// The CUDA device functions that the kernels use, for a host compiler. native/cuda/runtime/kernels/device.cuh includes
// this file.
#pragma once

#include <cuda_runtime.h>
#include <math.h>

#include <bit>
#include <cstdint>
#include <cstring>

#include "machine.h"

#define SIGMA_UNROLL
#define SIGMA_UNROLL_BY(count)
#define SIGMA_IN_PLACE

#ifndef __launch_bounds__
#define __launch_bounds__(...)
#endif

#define threadIdx (::sigma::cuda::shim::machine().thread_index())
#define blockIdx (::sigma::cuda::shim::machine().block_index())
#define blockDim (::sigma::cuda::shim::machine().block_size())
#define gridDim (::sigma::cuda::shim::machine().grid_size())

inline void __syncthreads() {
  if (sigma::cuda::shim::options.barriers) sigma::cuda::shim::machine().barrier();
}

inline void __syncwarp(unsigned mask = 0xffffffffu) {
  if (sigma::cuda::shim::options.barriers) sigma::cuda::shim::machine().collect("__syncwarp", mask, 0);
}

namespace sigma::cuda::shim {

// The value of lane `source` in the group of `width` lanes; the lane's own value if `source` is outside the group.
template <class T, class Source>
T shuffle(const char* collective, unsigned mask, T value, int width, Source source) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  const int lane = static_cast<int>(machine().lane());
  const uint64_t* const taken = machine().collect(collective, mask, bits);
  const int first = lane / width * width;
  const int from = source(lane - first);
  const int chosen = from < 0 || from >= width ? lane : first + from;
  if ((mask >> chosen & 1) == 0) throw Fault(std::string(collective) + " from a lane that the mask leaves out");
  std::memcpy(&value, &taken[chosen], sizeof(T));
  return value;
}

}  // namespace sigma::cuda::shim

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  return sigma::cuda::shim::shuffle("__shfl_sync", mask, value, width, [=](int) { return source & (width - 1); });
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
  return sigma::cuda::shim::shuffle("__shfl_xor_sync", mask, value, width, [=](int lane) { return lane ^ bits; });
}

template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return sigma::cuda::shim::shuffle("__shfl_down_sync", mask, value, width,
                                    [=](int lane) { return lane + static_cast<int>(delta); });
}

template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return sigma::cuda::shim::shuffle("__shfl_up_sync", mask, value, width,
                                    [=](int lane) { return lane - static_cast<int>(delta); });
}

inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const uint64_t* const taken = sigma::cuda::shim::machine().collect("__ballot_sync", mask, predicate != 0 ? 1 : 0);
  unsigned ballot = 0;
  for (unsigned lane = 0; lane < 32; ++lane) {
    if ((mask >> lane & 1) != 0) ballot |= static_cast<unsigned>(taken[lane]) << lane;
  }
  return ballot;
}

inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) == mask; }

// Blocks run one after another, so each sees what the others wrote.
inline void __threadfence() {}
inline unsigned atomicInc(unsigned* to, unsigned most) {
  const unsigned before = *to;
  *to = before >= most ? 0 : before + 1;
  return before;
}

inline float __uint_as_float(unsigned bits) { return std::bit_cast<float>(bits); }
inline unsigned __float_as_uint(float value) { return std::bit_cast<unsigned>(value); }

inline double __hiloint2double(int high, int low) {
  return std::bit_cast<double>(static_cast<uint64_t>(static_cast<unsigned>(high)) << 32 | static_cast<unsigned>(low));
}
inline int __double2hiint(double value) { return static_cast<int>(std::bit_cast<uint64_t>(value) >> 32); }
inline int __double2loint(double value) { return static_cast<int>(std::bit_cast<uint64_t>(value) & 0xffffffffu); }

namespace sigma::cuda {

// The block's dynamic shared memory.
template <class T>
T* shared_memory() {
  return static_cast<T*>(shim::machine().shared());
}

inline void check_alignment(const void* memory) {
  if (reinterpret_cast<uintptr_t>(memory) % 16 != 0) throw shim::Fault("a vector that is not aligned to 16 bytes");
}
inline uint4 load_16_bytes(const void* from) {
  check_alignment(from);
  uint4 bytes;
  std::memcpy(&bytes, from, sizeof(bytes));
  return bytes;
}
inline void store_16_bytes(void* to, uint4 bytes) {
  check_alignment(to);
  std::memcpy(to, &bytes, sizeof(bytes));
}

}  // namespace sigma::cuda
