// Gradients of M's values and of the gate, g = sigmoid(gate): dvalues[p] (+)= g samples[p] (z) and
// dgate (+)= g (1 - g) Σ_p values[p] samples[p], as partial sums per block and then their sum.
#pragma once

#include "cuda/runtime/kernels/reduce.cuh"
#include "cuda/sparse/kernels/product.cuh"

namespace sigma::cuda {

// Adds to dvalues if `adds`, else overwrites; overwrites partials (blocks). Either may be null. Shared memory: kWarps
// numbers.
template <class V>
__global__ void __launch_bounds__(kWarpSize* kWarps)
    core_gradient_kernel(int64_t entries, const V* gate, const V* values, const V* samples, V* dvalues, bool adds,
                         V* partials) {
  const V g = gate_factor(gate);
  const int64_t thread = (static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y) * kWarpSize + threadIdx.x;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * (kWarps * kWarpSize);
  V sum = 0;
  for (int64_t p = thread; p < entries; p += threads) {
    const V sample = samples[p];
    if (dvalues != nullptr) dvalues[p] = adds ? dvalues[p] + g * sample : g * sample;
    if (partials != nullptr) sum += values[p] * sample;
  }
  if (partials == nullptr) return;
  const V total = reduce_block(sum, shared_memory<V>());
  if (threadIdx.x == 0 && threadIdx.y == 0) partials[blockIdx.x] = total;
}

// dgate (+)= g (1 - g) Σ_b partials[b]. One block; shared memory: kWarps numbers.
template <class V>
__global__ void __launch_bounds__(kWarpSize* kWarps)
    gate_gradient_kernel(int blocks, const V* gate, const V* partials, V* dgate, bool adds) {
  V sum = 0;
  for (int b = static_cast<int>(threadIdx.y) * kWarpSize + static_cast<int>(threadIdx.x); b < blocks;
       b += kWarps * kWarpSize) {
    sum += partials[b];
  }
  const V total = reduce_block(sum, shared_memory<V>());
  if (threadIdx.x != 0 || threadIdx.y != 0) return;
  // 1 - g as sigmoid(-gate), without cancellation.
  const V rest = gate == nullptr ? V(0) : V(1) / (V(1) + exp(*gate));
  const V sum_of_gate = gate_factor(gate) * rest * total;
  *dgate = adds ? *dgate + sum_of_gate : sum_of_gate;
}

}  // namespace sigma::cuda
