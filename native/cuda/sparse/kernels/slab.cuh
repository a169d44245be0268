// out (r, N) = C dense, dense (r, N), for any CSR pattern M: like gather.cuh, but for rows with many entries.
// Overwrites.
//
// A block copies a slab, kSlab vectors of 16 bytes of all r rows, to shared memory (r · kSlab · 16 bytes) and gathers
// there. `dense` is read once, and the entries once per slab. A thread takes one vector of a row at a time.
#pragma once

#include "cuda/sparse/kernels/product.cuh"

namespace sigma::cuda {

constexpr int kSlabThreads = 1024;

// Loads `count` tokens of all rows, starting at `token`; the rest of the slab is zero.
template <int kSlab, class T>
__device__ __forceinline__ void load_slab(const T* matrix, int64_t stride, int rows, int64_t token, int count,
                                          bool aligned, uint4* slab) {
  SIGMA_UNROLL_BY(4)
  for (int item = static_cast<int>(threadIdx.x); item < rows * kSlab; item += static_cast<int>(blockDim.x)) {
    const int at = item % kSlab * kPerVector<T>;
    const T* const from = matrix + item / kSlab * stride + token + at;
    if (aligned && count - at >= kPerVector<T>) {
      slab[item] = load_16_bytes(from);
    } else {
      Number<T> numbers[kPerVector<T>];
      load_vector(from, count - at, false, numbers);
      slab[item] = pack<T>(numbers);
    }
  }
}

template <class T, int kSlab>
__global__ void __launch_bounds__(kSlabThreads, 1) slab_kernel(Product<T> p) {
  uint4* const slab = shared_memory<uint4>();
  const int rows = static_cast<int>(p.rows);
  const int64_t token = static_cast<int64_t>(blockIdx.x) * (kSlab * kPerVector<T>);
  const int64_t left = p.tokens - token;
  const int count = left < kSlab * kPerVector<T> ? static_cast<int>(left) : kSlab * kPerVector<T>;
  load_slab<kSlab>(p.dense, p.dense_stride, rows, token, count, p.aligned, slab);
  const Number<T> g = gate_factor(p.gate);
  __syncthreads();

  for (int item = static_cast<int>(threadIdx.x); item < rows * kSlab; item += static_cast<int>(blockDim.x)) {
    const int i = item / kSlab;
    const int v = item % kSlab;
    Number<T> sums[kPerVector<T>] = {};
    const int32_t end = p.pointers[i + 1];
    SIGMA_UNROLL_BY(4)
    for (int32_t q = p.pointers[i]; q < end; ++q) {
      const Number<T> value = p.values[q];
      Number<T> x[kPerVector<T>];
      unpack<T>(slab[p.indices[q] * kSlab + v], x);
      SIGMA_UNROLL
      for (int l = 0; l < kPerVector<T>; ++l) sums[l] += value * x[l];
    }
    Number<T> result[kPerVector<T>];
    if (p.diagonal != nullptr) {
      const Number<T> d = diagonal_at(p, i);
      unpack<T>(slab[item], result);
      SIGMA_UNROLL
      for (int l = 0; l < kPerVector<T>; ++l) result[l] = d * result[l] + g * sums[l];
    } else {
      SIGMA_UNROLL
      for (int l = 0; l < kPerVector<T>; ++l) result[l] = g * sums[l];
    }
    store_vector(p.out + i * p.out_stride + token + v * kPerVector<T>, count - v * kPerVector<T>, p.aligned, result);
  }
}

}  // namespace sigma::cuda
