// Gradients of M's values and of the gate, g = sigmoid(gate), from the samples (z) of K: dvalues[p] (+)= g samples[p]
// and dgate (+)= g (1 - g) Σ_p values[p] samples[p], as one part per block and then their sum.
#pragma once

#include "cuda/runtime/kernels/reduce.cuh"
#include "cuda/runtime/kernels/ticket.cuh"
#include "cuda/sparse/kernels/product.cuh"

namespace sigma::cuda {

template <class V>
__device__ __forceinline__ void add_value_gradient(V g, V sample, bool adds, V& to) {
  to = adds ? to + g * sample : g * sample;
}

// What the gradient of the gate is summed from.
template <class V>
struct GateSum {
  const V* values;  // (z)
  V* gradient;      // (1); null if it is not wanted
  bool adds;
  V* parts;          // (blocks)
  unsigned* ticket;  // (1)
};

// Adds up the parts of all threads of `blocks` blocks. Every thread of each of them must call it. Shared memory: a
// ticket, and kWarps numbers at `memory`.
template <class V>
__device__ __forceinline__ void add_gate_gradient(const GateSum<V>& p, const V* gate, V part, unsigned block,
                                                  unsigned blocks, unsigned* ticket, V* memory) {
  const bool first = threadIdx.x == 0 && threadIdx.y == 0;
  const V of_block = reduce_block(part, memory);
  if (first) p.parts[block] = of_block;
  if (!is_last_block(p.ticket, blocks, ticket)) return;
  V sum = 0;
  for (unsigned b = threadIdx.y * kWarpSize + threadIdx.x; b < blocks; b += kWarps * kWarpSize) sum += p.parts[b];
  const V total = reduce_block(sum, memory);
  if (!first) return;
  // 1 - g as sigmoid(-gate), without cancellation.
  const V rest = gate == nullptr ? V(0) : V(1) / (V(1) + exp(*gate));
  add_value_gradient(gate_factor(gate) * rest, total, p.adds, *p.gradient);
}

// Shared memory for a block's ticket, in front of its numbers.
constexpr size_t kTicketBytes = 16;

template <class V>
struct CoreGradient {
  int64_t entries;  // z
  const V* gate;    // (1), or null
  const V* samples;
  V* values_gradient;  // (z), or null
  bool adds_values;
  GateSum<V> gate_sum;
};

// Shared memory: kTicketBytes, and kWarps numbers.
template <class V>
__global__ void __launch_bounds__(kWarpSize* kWarps) core_gradient_kernel(CoreGradient<V> p) {
  const V g = gate_factor(p.gate);
  const int64_t thread = (static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y) * kWarpSize + threadIdx.x;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * (kWarps * kWarpSize);
  const bool with_gate = p.gate_sum.gradient != nullptr;
  V part = 0;
  for (int64_t i = thread; i < p.entries; i += threads) {
    const V sample = p.samples[i];
    if (p.values_gradient != nullptr) add_value_gradient(g, sample, p.adds_values, p.values_gradient[i]);
    if (with_gate) part += p.gate_sum.values[i] * sample;
  }
  if (!with_gate) return;
  auto* const memory = shared_memory<unsigned char>();
  add_gate_gradient(p.gate_sum, p.gate, part, blockIdx.x, gridDim.x, reinterpret_cast<unsigned*>(memory),
                    reinterpret_cast<V*>(memory + kTicketBytes));
}

}  // namespace sigma::cuda
