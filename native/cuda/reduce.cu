// Sums along the rows and the columns of matrices, added to what the outputs hold.
#include "dispatch.h"
#include "kernels/columns.cuh"
#include "kernels/rows.cuh"
#include "ops.h"

namespace sigma::cuda {
namespace {

// What keeps any device busy, and how much a split should be at least; no split depends on the device (see plan.h).
constexpr int64_t kBusyWarps = 8192;
constexpr int64_t kBusyBlocks = 512;
constexpr int64_t kLeastRowTokens = 2048;
constexpr int64_t kLeastColumnTokens = 64;

template <class V>
void sum_partials(sigma_context& context, const char* operation, int64_t count, const Split& split, const V* partials,
                  const V* mask, V* sums) {
  launch(context, operation, sum_partials_kernel<V>, flat_grid(count), dim3(256), 0, count,
         static_cast<int>(split.count), partials, mask, true, sums);
}

// Where a kernel leaves its sums: partial ones in scratch memory, or added to `sums` at once if there is one split.
// Without scratch memory there is one, which is slow: a backward that has added some of its gradients must not fail.
template <class V>
V* partials_for(sigma_context& context, Split& split, int64_t count, V* sums) {
  if (split.count == 1) return sums;
  try {
    return static_cast<V*>(context.scratch(static_cast<size_t>(split.count * count) * sizeof(V)));
  } catch (const Failure& failure) {
    if (failure.status() != SIGMA_OUT_OF_MEMORY) throw;
    split = {1, split.count * split.size};
    return sums;
  }
}

template <class T>
void dot_rows(sigma_context& context, const sigma_matrix& a, const sigma_matrix& b, const Number<T>* mask,
              Number<T>* sums) {
  Split split = split_of(a.columns, a.rows, kBusyWarps, kTile<T>, kLeastRowTokens, a.rows);
  RowDots<T> p = {};
  p.rows = a.rows;
  p.tokens = a.columns;
  p.partials = partials_for(context, split, a.rows, sums);
  p.split_tokens = split.size;
  p.a = static_cast<const T*>(a.data);
  p.a_stride = a.stride;
  p.b = static_cast<const T*>(b.data);
  p.b_stride = b.stride;
  p.aligned = rows_aligned<T>({a, b});
  p.mask = mask;
  p.adds = split.count == 1;
  const dim3 grid(grid_side(divided_up(a.rows, kWarps)), short_side(split.count));
  launch(context, "row_dots", row_dots_kernel<T>, grid, dim3(kWarpSize, kWarps), 0, p);
  if (split.count > 1) sum_partials<Number<T>>(context, "row_dots", a.rows, split, p.partials, mask, sums);
}

template <class T>
void sum_columns(sigma_context& context, const sigma_matrix& a, Number<T>* sums) {
  constexpr int64_t kWidth = kWarpSize * kLanes<T>;
  const int64_t blocks = divided_up(a.columns, kWidth);
  Split split = split_of(a.rows, blocks, kBusyBlocks, kWarps, kLeastColumnTokens, a.columns);
  ColumnSums<T> p = {};
  p.tokens = a.rows;
  p.columns = a.columns;
  p.partials = partials_for(context, split, a.columns, sums);
  p.split_tokens = split.size;
  p.a = static_cast<const T*>(a.data);
  p.stride = a.stride;
  p.aligned = rows_aligned<T>({a});
  p.adds = split.count == 1;
  launch(context, "column_sums", column_sums_kernel<T>, dim3(grid_side(blocks), short_side(split.count)),
         dim3(kWarpSize, kWarps), static_cast<size_t>(kWarps * kWidth) * sizeof(Number<T>), p);
  if (split.count > 1) {
    sum_partials<Number<T>>(context, "column_sums", a.columns, split, p.partials, nullptr, sums);
  }
}

}  // namespace

void row_dots(sigma_context& context, const sigma_row_dots& call) {
  if (call.a.rows == 0 || call.a.columns == 0) return;
  for_types(call.real, {call.a.dtype, call.b.dtype}, [&]<class T>(std::type_identity<T>) {
    dot_rows<T>(context, call.a, call.b, static_cast<const Number<T>*>(call.mask), static_cast<Number<T>*>(call.sums));
  });
}

void column_sums(sigma_context& context, const sigma_column_sums& call) {
  if (call.a.rows == 0 || call.a.columns == 0) return;
  for_types(call.real, {call.a.dtype}, [&]<class T>(std::type_identity<T>) {
    sum_columns<T>(context, call.a, static_cast<Number<T>*>(call.sums));
  });
}

}  // namespace sigma::cuda
