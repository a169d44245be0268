// partials[s, p] = Σ_t a[i_p, t] b[j_p, t] over the tokens t of split s: like samples.cuh, but for rows with many
// entries. Overwrites.
//
// A block takes a split and copies one slab of b after the other to shared memory (r · kSlab · 16 bytes). Neighbouring
// threads take consecutive entries, so they share rows of a and their writes coalesce.
#pragma once

#include "cuda/sparse/kernels/samples.cuh"
#include "cuda/sparse/kernels/slab.cuh"

namespace sigma::cuda {

// rows[p] = i_p (z). Overwrites.
template <class Index>
__global__ void __launch_bounds__(kWarpSize* kWarps)
    entry_rows_kernel(int64_t size, const Index* pointers, Index* rows) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (i >= size) return;
  const Index end = pointers[i + 1];
  for (Index p = pointers[i] + static_cast<Index>(threadIdx.x); p < end; p += kWarpSize)
    rows[p] = static_cast<Index>(i);
}

template <class T, int kSlab>
__global__ void __launch_bounds__(kSlabThreads, 1) slab_samples_kernel(Sampling<T> p, const int32_t* entry_rows) {
  constexpr int kTokens = kSlab * kPerVector<T>;
  uint4* const slab = shared_memory<uint4>();
  const int64_t split_begin = static_cast<int64_t>(blockIdx.x) * p.split_tokens;
  const int64_t split_end = split_begin + p.split_tokens < p.tokens ? split_begin + p.split_tokens : p.tokens;
  Number<T>* const partials = p.partials + blockIdx.x * p.entries;
  for (int64_t token = split_begin; token < split_end; token += kTokens) {
    const int64_t left = split_end - token;
    const int count = left < kTokens ? static_cast<int>(left) : kTokens;
    load_slab<kSlab>(p.b, p.b_stride, static_cast<int>(p.rows), token, count, p.aligned, slab);
    __syncthreads();
    for (int64_t entry = threadIdx.x; entry < p.entries; entry += blockDim.x) {
      const T* const row = p.a + entry_rows[entry] * p.a_stride + token;
      const int32_t j = p.indices[entry];
      // The first slab of a split overwrites.
      Number<T> sum = token == split_begin ? Number<T>(0) : partials[entry];
      SIGMA_UNROLL
      for (int v = 0; v < kSlab; ++v) {
        Number<T> a[kPerVector<T>], b[kPerVector<T>];
        load_vector(row + v * kPerVector<T>, count - v * kPerVector<T>, p.aligned, a);
        unpack<T>(slab[j * kSlab + v], b);
        add_dot(a, b, sum);
      }
      partials[entry] = sum;
    }
    // All threads must be done before the next slab overwrites this one.
    __syncthreads();
  }
}

}  // namespace sigma::cuda
