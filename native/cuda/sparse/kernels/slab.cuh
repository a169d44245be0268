// out (r, N) = C dense, dense (r, N), for any CSR pattern M: like gather.cuh, but for rows with many entries.
// Overwrites.
//
// A block copies a slab, kSlab vectors of 16 bytes of all r rows, to shared memory (r · kSlab · 16 bytes) and gathers
// there. `dense` is read once, and the entries once per slab.
//
// A warp takes 4 / kSlab rows: its lanes are (rows, 8 entries, kSlab vectors). So it reads neighbouring entries at
// once: 2 lines of the L1 cache per row and 8 entries, where a lane for each vector of a row would read 2 for each
// entry.
#pragma once

#include "cuda/runtime/kernels/reduce.cuh"
#include "cuda/sparse/kernels/product.cuh"

namespace sigma::cuda {

constexpr int kSlabThreads = 1024;
// Entries of a row that a warp takes at a time.
constexpr int kSlabEntries = 8;

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

  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int v = lane % kSlab;
  const int e = lane / kSlab % kSlabEntries;
  constexpr int kRows = kWarpSize / (kSlabEntries * kSlab);
  // After the reduction over the entries, kSharers lanes have the sum of token k.
  constexpr int kSharers = kSlabEntries / kPerVector<T>;
  const int k = e / kSharers;
  const int64_t column = v * kPerVector<T> + k;
  const auto* const numbers = reinterpret_cast<const T*>(slab);
  const int step = static_cast<int>(blockDim.x) / kWarpSize * kRows;
  for (int first = static_cast<int>(threadIdx.x) / kWarpSize * kRows; first < rows; first += step) {
    const int i = first + lane / (kSlabEntries * kSlab);
    const bool exists = i < rows;
    const int32_t end = exists ? p.pointers[i + 1] : 0;
    Number<T> sums[kPerVector<T>] = {};
    SIGMA_UNROLL_BY(2)
    for (int32_t q = exists ? p.pointers[i] + e : 0; q < end; q += kSlabEntries) {
      const Number<T> value = p.values[q];
      Number<T> x[kPerVector<T>];
      unpack<T>(slab[p.indices[q] * kSlab + v], x);
      SIGMA_UNROLL
      for (int l = 0; l < kPerVector<T>; ++l) sums[l] += value * x[l];
    }
    Number<T> result = g * reduce_lanes<kSlabEntries, kSlab>(sums);
    if (!exists || e % kSharers != 0 || column >= count) continue;
    if (p.diagonal != nullptr) {
      result += diagonal_at(p, i) * widened(numbers[i * kSlab * kPerVector<T> + column]);
    }
    p.out[i * p.out_stride + token + column] = narrowed<T>(result);
  }
}

}  // namespace sigma::cuda
