#include "cuda/ops.h"
#include "cuda/sparse/kernels/columns.cuh"
#include "cuda/sparse/partials.h"

namespace sigma::cuda {
namespace {

// How many blocks keep any device busy, and the smallest split.
constexpr int64_t kBusyBlocks = 512;
constexpr int64_t kLeastColumnTokens = 64;

template <class T>
void sum_columns(sigma_context& context, const sigma_matrix& a, bool adds, Number<T>* sums) {
  constexpr int64_t kWidth = kWarpSize * kPerVector<T>;
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
  p.adds = adds && split.count == 1;
  launch(context, "column_sums", column_sums_kernel<T>, dim3(grid_side(blocks), short_side(split.count)),
         dim3(kWarpSize, kWarps), static_cast<size_t>(kWarps * kWidth) * sizeof(Number<T>), p);
  if (split.count > 1) {
    sum_partials<Number<T>>(context, "column_sums", a.columns, split, p.partials, {}, adds, sums);
  }
}

}  // namespace

void column_sums(sigma_context& context, const sigma_column_sums& call) {
  if (call.a.columns == 0) return;
  for_types(call.real, {call.a.dtype}, [&]<class T>(std::type_identity<T>) {
    auto* const sums = static_cast<Number<T>*>(call.sums);
    if (call.a.rows > 0) return sum_columns<T>(context, call.a, call.fresh == 0, sums);
    if (call.fresh != 0) clear(context, "column_sums", sums, call.a.columns);
  });
}

}  // namespace sigma::cuda
