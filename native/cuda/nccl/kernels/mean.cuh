// The means of K vectors, which lie one after another.
#pragma once

#include <cstdint>

#include "cuda/runtime/kernels/device.cuh"

namespace sigma::cuda {

// means[i] = (1 / K) Σ_k vectors[k, i]; vectors (K, count). float64 sums in the order of k: the bits are those of the
// mean on the host (native/mpi).
template <class T>
__global__ void mean_kernel(const T* vectors, int64_t ranks, int64_t count, T* means) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  double sum = 0;
  for (int64_t k = 0; k < ranks; ++k) sum += static_cast<double>(vectors[k * count + i]);
  means[i] = static_cast<T>(sum / static_cast<double>(ranks));
}

}  // namespace sigma::cuda
