#include "cuda/ops.h"
#include "cuda/sparse/kernels/rows.cuh"
#include "cuda/sparse/partials.h"

namespace sigma::cuda {
namespace {

// How many warps keep any device busy, and the smallest split.
constexpr int64_t kBusyWarps = 8192;
constexpr int64_t kLeastRowTokens = 2048;

template <class T>
void dot_rows(sigma_context& context, const sigma_matrix& a, const sigma_matrix& b, const Mask<Number<T>>& mask,
              bool adds, Number<T>* sums) {
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
  p.adds = adds && split.count == 1;
  const dim3 grid(grid_side(divided_up(a.rows, kWarps)), short_side(split.count));
  launch(context, "row_dots", row_dots_kernel<T>, grid, dim3(kWarpSize, kWarps), 0, p);
  if (split.count > 1) sum_partials<Number<T>>(context, "row_dots", a.rows, split, p.partials, mask, adds, sums);
}

}  // namespace

void row_dots(sigma_context& context, const sigma_row_dots& call) {
  if (call.a.rows == 0) return;
  for_types(call.real, {call.a.dtype, call.b.dtype}, [&]<class T>(std::type_identity<T>) {
    using V = Number<T>;
    const Mask<V> mask = {static_cast<const V*>(call.mask), static_cast<const V*>(call.offset)};
    auto* const sums = static_cast<V*>(call.sums);
    // The kernels write neither rows without tokens nor masked rows.
    const bool clears = call.fresh != 0 && (call.a.columns == 0 || call.mask != nullptr);
    if (clears) clear(context, "row_dots", sums, call.a.rows);
    if (call.a.columns > 0) dot_rows<T>(context, call.a, call.b, mask, call.fresh == 0 || clears, sums);
  });
}

}  // namespace sigma::cuda
