// Sums over tokens, for the gradients of vectors, in one launch.
#pragma once

#include <utility>

#include "cuda/runtime/dispatch.h"
#include "cuda/sparse/kernels/sums.cuh"

namespace sigma::cuda {

// How many warps of rows, and blocks of columns, keep any device busy, and the smallest splits. They do not depend on
// the device, because they determine the order of sums.
constexpr int64_t kBusyWarps = 8192, kLeastRowTokens = 2048;
constexpr int64_t kBusyBlocks = 512, kLeastColumnTokens = 64;

// Gives scratch memory to the parts of one launch.
template <class V>
class Parts {
 public:
  int64_t numbers = 0, tickets = 0;

  // Throws OUT_OF_MEMORY.
  void take(sigma_context& context) {
    if (numbers > 0) next_ = static_cast<V*>(context.scratch(static_cast<size_t>(numbers) * sizeof(V)));
    if (tickets > 0) next_ticket_ = context.tickets(tickets);
  }
  V* numbers_for(int64_t count) { return std::exchange(next_, next_ + count); }
  unsigned* tickets_for(int64_t count) { return std::exchange(next_ticket_, next_ticket_ + count); }

 private:
  V* next_ = nullptr;
  unsigned* next_ticket_ = nullptr;
};

// a and b (r, N), without any output.
template <class T>
RowDots<T> row_dots_of(const sigma_matrix& a, const sigma_matrix& b) {
  RowDots<T> p = {};
  if (a.rows == 0) return p;
  p.rows = a.rows;
  p.tokens = a.columns;
  const Split split = split_of(a.columns, a.rows, kBusyWarps, kTile<T>, kLeastRowTokens, a.rows);
  p.splits = static_cast<unsigned>(split.count);
  p.split_tokens = split.size;
  p.groups = static_cast<unsigned>(divided_up(a.rows, kWarps));
  p.a = static_cast<const T*>(a.data);
  p.a_stride = a.stride;
  p.b = static_cast<const T*>(b.data);
  p.b_stride = b.stride;
  p.aligned = rows_aligned<T>({a, b});
  return p;
}

template <class T>
void add_diagonal(RowDots<T>& p, const sigma_row_dots& call) {
  using V = Number<T>;
  p.sums = static_cast<V*>(call.sums);
  p.mask = {static_cast<const V*>(call.mask), static_cast<const V*>(call.offset)};
  p.adds = call.fresh == 0;
}

template <class V>
GateSum<V> gate_sum_of(const sigma_core_gradient& call) {
  GateSum<V> sum = {};
  sum.values = static_cast<const V*>(call.core->values);
  sum.gradient = static_cast<V*>(call.dgate);
  sum.adds = call.fresh_gate == 0;
  return sum;
}

template <class T>
ColumnSums<T> column_sums_of(const sigma_column_sums& call) {
  ColumnSums<T> p = {};
  const sigma_matrix& a = call.a;
  if (a.columns == 0) return p;
  p.tokens = a.rows;
  p.columns = a.columns;
  const int64_t groups = divided_up(a.columns, kColumnsOfBlock<T>);
  const Split split = split_of(a.rows, groups, kBusyBlocks, kWarps, kLeastColumnTokens, a.columns);
  p.splits = static_cast<unsigned>(split.count);
  p.split_tokens = split.size;
  p.groups = static_cast<unsigned>(groups);
  p.a = static_cast<const T*>(a.data);
  p.stride = a.stride;
  p.aligned = rows_aligned<T>({a});
  p.sums = static_cast<Number<T>*>(call.sums);
  p.adds = call.fresh == 0;
  return p;
}

// Sums without splits are slow, but need no memory.
template <class Part>
void unsplit(Part& p) {
  p.split_tokens *= p.splits;
  p.splits = 1;
}

// Launches the sums of rows and columns; groups of 0 are absent. Without memory for partial sums it does not split:
// a backward may already have added other gradients. The gate's sum cannot do without memory: it throws OUT_OF_MEMORY.
template <class T>
void launch_sums(sigma_context& context, const char* operation, Sums<T> p) {
  using V = Number<T>;
  RowDots<T>& rows = p.rows;
  ColumnSums<T>& columns = p.columns;
  const bool with_gate = rows.gate_sum.gradient != nullptr;
  Parts<V> parts;
  const auto add = [&](int64_t splits, int64_t groups, int64_t outputs) {
    if (splits < 2) return;
    parts.numbers += splits * outputs;
    parts.tickets += groups;
  };
  const auto count = [&] {
    parts = {};
    add(rows.splits, rows.groups, rows.rows);
    add(columns.splits, columns.groups, columns.columns);
    if (with_gate) {
      parts.numbers += rows.groups;
      ++parts.tickets;
    }
  };
  count();
  try {
    parts.take(context);
  } catch (const Failure& failure) {
    if (failure.status() != SIGMA_OUT_OF_MEMORY) throw;
    unsplit(rows);
    unsplit(columns);
    count();
    parts.take(context);
  }
  if (rows.splits > 1) {
    rows.partials = parts.numbers_for(rows.splits * rows.rows);
    rows.tickets = parts.tickets_for(rows.groups);
  }
  if (columns.splits > 1) {
    columns.partials = parts.numbers_for(columns.splits * columns.columns);
    columns.tickets = parts.tickets_for(columns.groups);
  }
  if (with_gate) {
    rows.gate_sum.parts = parts.numbers_for(rows.groups);
    rows.gate_sum.ticket = parts.tickets_for(1);
  }
  const int64_t blocks = int64_t{rows.groups} * rows.splits + int64_t{columns.groups} * columns.splits;
  if (blocks == 0) return;
  const int64_t numbers = columns.groups > 0 ? kWarps * kColumnsOfBlock<T> : kWarps;
  launch(context, operation, sums_kernel<T>, dim3(grid_side(blocks)), dim3(kWarpSize, kWarps),
         kTicketBytes + static_cast<size_t>(numbers) * sizeof(V), p);
}

}  // namespace sigma::cuda
