// Sums over the tokens of rows: dot_i = Σ_t a[i, t] b[i, t]; a and b (r, N). A dot adds to the gradient of a diagonal,
// and if M is diagonal to those of M's values and of the gate.
//
// A warp takes a split of a row. If there are several, the last block of a group of rows adds the splits up.
#pragma once

#include "cuda/runtime/kernels/reduce.cuh"
#include "cuda/runtime/kernels/ticket.cuh"
#include "cuda/sparse/kernels/gradient.cuh"

namespace sigma::cuda {

// Selects the outputs with numbers[i] [+ offset[i]] > 0, or all if `numbers` is null.
template <class V>
struct Mask {
  const V* numbers;  // (count), or null
  const V* offset;   // (count), or null
};

template <class V>
__device__ __forceinline__ bool is_wanted(const Mask<V>& mask, int64_t i) {
  if (mask.numbers == nullptr) return true;
  return (mask.offset == nullptr ? mask.numbers[i] : mask.numbers[i] + mask.offset[i]) > 0;
}

template <class T>
struct RowDots {
  using V = Number<T>;
  int64_t rows;          // r
  int64_t tokens;        // N
  int64_t split_tokens;  // of one split; the last may have fewer
  unsigned splits;
  unsigned groups;  // of kWarps rows
  const T* a;
  int64_t a_stride;
  const T* b;
  int64_t b_stride;
  bool aligned;  // whether every row of both, and every split, is aligned to 16 bytes

  // The gradient of a diagonal: (r), or null. Masked rows get nothing.
  V* sums;
  Mask<V> mask;
  bool adds;
  // The gradients of a diagonal M, which has as many entries as rows.
  const V* gate;       // (1), or null
  V* values_gradient;  // (r), or null
  bool adds_values;
  GateSum<V> gate_sum;

  V* partials;        // (splits, r), if there are several splits
  unsigned* tickets;  // (groups), likewise
};

template <bool kWhole, class T>
__device__ __forceinline__ void multiply_tiles(const T* a, const T* b, Span span, Number<T> (&sums)[kPerVector<T>]) {
  Number<T> x[kPerVector<T>], y[kPerVector<T>];
  load_tile<kWhole>(a, span, x);
  load_tile<kWhole>(b, span, y);
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) sums[l] += x[l] * y[l];
}

// Σ_t a[i, t] b[i, t] over the tokens of a split, in every lane of the warp.
template <class T>
__device__ __forceinline__ Number<T> dot_of_split(const RowDots<T>& p, int64_t i, unsigned split) {
  const int64_t begin = static_cast<int64_t>(split) * p.split_tokens;
  const int64_t end = begin + p.split_tokens < p.tokens ? begin + p.split_tokens : p.tokens;
  const T* const a = p.a + i * p.a_stride;
  const T* const b = p.b + i * p.b_stride;
  Number<T> sums[kPerVector<T>] = {};
  int64_t t = begin;
  const int64_t whole = p.aligned ? (end - begin) / kTile<T> * kTile<T> : 0;
  SIGMA_UNROLL_BY(4)
  for (; t < begin + whole; t += kTile<T>) multiply_tiles<true>(a + t, b + t, {kTile<T>, true}, sums);
  for (; t < end; t += kTile<T>) multiply_tiles<false>(a + t, b + t, span_at<T>(t, end, p.aligned), sums);

  SIGMA_UNROLL
  for (int width = kPerVector<T> / 2; width > 0; width /= 2) {
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T> / 2; ++l) {
      if (l < width) sums[l] += sums[l + width];
    }
  }
  Number<T> lane_sum[1] = {sums[0]};
  return reduce_lanes(lane_sum);
}

// Gives row i's dot to the gradients. Returns its part of the gate's sum. For one lane.
template <class T>
__device__ __forceinline__ Number<T> take_dot(const RowDots<T>& p, int64_t i, Number<T> dot) {
  using V = Number<T>;
  if (p.sums != nullptr) {
    const bool wanted = is_wanted(p.mask, i);
    if (!p.adds) {
      p.sums[i] = wanted ? dot : V(0);
    } else if (wanted) {
      p.sums[i] += dot;
    }
  }
  if (p.values_gradient != nullptr) add_value_gradient(gate_factor(p.gate), dot, p.adds_values, p.values_gradient[i]);
  return p.gate_sum.gradient != nullptr ? p.gate_sum.values[i] * dot : V(0);
}

// Block `group` of `split`. Shared memory: a ticket, and kWarps numbers at `memory`.
template <class T>
__device__ __forceinline__ void sum_rows(const RowDots<T>& p, unsigned group, unsigned split, unsigned* ticket,
                                         Number<T>* memory) {
  using V = Number<T>;
  const int64_t i = static_cast<int64_t>(group) * kWarps + threadIdx.y;
  const bool exists = i < p.rows;
  const bool first = threadIdx.x == 0;
  const bool of_matrix = p.values_gradient != nullptr || p.gate_sum.gradient != nullptr;
  V dot = exists && (of_matrix || is_wanted(p.mask, i)) ? dot_of_split(p, i, split) : V(0);
  if (p.splits > 1) {
    if (exists && first) p.partials[split * p.rows + i] = dot;
    if (!is_last_block(p.tickets + group, p.splits, ticket)) return;
    V lane_sum[1] = {V(0)};
    for (unsigned s = threadIdx.x; s < p.splits && exists; s += kWarpSize) lane_sum[0] += p.partials[s * p.rows + i];
    dot = reduce_lanes(lane_sum);
  }
  const V part = exists && first ? take_dot(p, i, dot) : V(0);
  if (p.gate_sum.gradient != nullptr) add_gate_gradient(p.gate_sum, p.gate, part, group, p.groups, ticket, memory);
}

}  // namespace sigma::cuda
