// Reductions over a warp, a block, and the partial sums of a grid. The order depends on the shape only, so results are
// bitwise reproducible.
#pragma once

#include "cuda/runtime/kernels/tile.cuh"

namespace sigma::cuda {

// Reduces kSums sums (a power of 2, at most kLanes) over groups of kLanes lanes that are kStride apart; each step
// halves the sums per lane. Lane l of a group gets sum l / (kLanes / kSums).
template <int kLanes = kWarpSize, int kStride = 1, int kSums, class V>
__device__ __forceinline__ V reduce_lanes(V (&sums)[kSums]) {
  static_assert(kSums <= kLanes && kLanes * kStride <= kWarpSize);
  int distance = kStride * kLanes / 2;
  SIGMA_UNROLL
  for (int half = kSums / 2; half > 0; half /= 2) {
    const bool upper = (static_cast<int>(threadIdx.x) & distance) != 0;
    SIGMA_UNROLL
    for (int k = 0; k < kSums / 2; ++k) {
      if (k < half) {
        const V given = upper ? sums[k] : sums[k + half];
        const V kept = upper ? sums[k + half] : sums[k];
        sums[k] = kept + __shfl_xor_sync(kAllLanes, given, distance);
      }
    }
    distance /= 2;
  }
  SIGMA_UNROLL
  for (int rest = kStride * kLanes / kSums / 2; rest >= kStride; rest /= 2) {
    sums[0] += __shfl_xor_sync(kAllLanes, sums[0], rest);
  }
  return sums[0];
}

// Returns the block's sum of `value` to thread (0, 0). The block has (kWarpSize, kWarps) threads; `memory` is shared
// memory for kWarps numbers.
template <class V>
__device__ __forceinline__ V reduce_block(V value, V* memory) {
  V sums[1] = {value};
  const V sum = reduce_lanes(sums);
  if (threadIdx.x == 0) memory[threadIdx.y] = sum;
  __syncthreads();
  V total = 0;
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    for (int w = 0; w < kWarps; ++w) total += memory[w];
  }
  return total;
}

// to[i] = Σ_s partials[s, i]; partials (splits, count).
template <class V>
__global__ void __launch_bounds__(256) sum_partials_kernel(int64_t count, int splits, const V* partials, V* to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  V sum = 0;
  SIGMA_UNROLL_BY(8)
  for (int s = 0; s < splits; ++s) sum += partials[s * count + i];
  to[i] = sum;
}

}  // namespace sigma::cuda
