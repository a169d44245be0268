// Products with the sparse core, out (r, N) = C dense or Cᵀ dense.
#include "cuda/ops.h"
#include "cuda/runtime/dispatch.h"
#include "cuda/sparse/kernels/band.cuh"
#include "cuda/sparse/kernels/diagonal.cuh"
#include "cuda/sparse/kernels/gather.cuh"
#include "cuda/sparse/kernels/slab.cuh"

namespace sigma::cuda {
namespace {

constexpr const char* kOperation = "spmm";

// Above this bandwidth a warp computes eight rows: fewer loads, but more registers.
constexpr int kWideBand = 9;

template <class T>
Product<T> product_of(const sigma_core& core, const sigma_matrix& dense, const sigma_matrix& out) {
  Product<T> p = {};
  p.rows = core.size;
  p.tokens = dense.columns;
  p.dense = static_cast<const T*>(dense.data);
  p.dense_stride = dense.stride;
  p.out = static_cast<T*>(out.data);
  p.out_stride = out.stride;
  p.aligned = rows_aligned<T>({dense, out});
  p.diagonal = static_cast<const Number<T>*>(core.diagonal);
  p.offset = static_cast<const Number<T>*>(core.offset);
  p.origin = static_cast<const Number<T>*>(core.origin);
  p.rectified = core.rectified != 0;
  p.gate = static_cast<const Number<T>*>(core.gate);
  return p;
}

// Sets the rows of M or Mᵀ. First permutes the values for Mᵀ, unless M is diagonal.
template <class T>
void take_pattern(sigma_context& context, Product<T>& p, const sigma_core& core, bool transpose) {
  const sigma_pattern& pattern = *core.pattern;
  if (pattern.banded != 0 && pattern.lower == 0 && pattern.upper == 0) transpose = false;
  const auto* const values = static_cast<const Number<T>*>(core.values);
  p.pointers = transpose ? pattern.transposed_row_pointers : pattern.row_pointers;
  p.indices = transpose ? pattern.transposed_indices : pattern.column_indices;
  p.values = values;
  if (!transpose || pattern.entries == 0) return;
  auto* const ordered =
      static_cast<Number<T>*>(context.scratch(static_cast<size_t>(pattern.entries) * sizeof(Number<T>)));
  launch(context, kOperation, permute_kernel<Number<T>>, flat_grid(pattern.entries), dim3(256), 0, pattern.entries,
         values, pattern.transposed_slots, ordered);
  p.values = ordered;
}

// One warp per `rows_of_warp` rows and tile of tokens.
template <class T>
void launch_tiles(sigma_context& context, void (*kernel)(Product<T>), int64_t rows_of_warp, Product<T> p) {
  p.row_blocks = grid_side(divided_up(p.rows, kWarps * rows_of_warp));
  const dim3 grid(grid_side(p.row_blocks * divided_up(p.tokens, kTile<T>)));
  launch(context, kOperation, kernel, grid, dim3(kWarpSize, kWarps), 0, p);
}

template <class T>
void launch_slab(sigma_context& context, void (*kernel)(Product<T>), int vectors, const Product<T>& p) {
  const int64_t items = p.rows * vectors;
  const int64_t warps = divided_up(items * kSlabEntries, kWarpSize);
  const auto threads = static_cast<unsigned>(std::min<int64_t>(warps * kWarpSize, kSlabThreads));
  launch(context, kOperation, kernel, dim3(grid_side(divided_up(p.tokens, vectors * kPerVector<T>))), dim3(threads),
         static_cast<size_t>(items * kVectorBytes), p);
}

template <class T>
void multiply(sigma_context& context, const sigma_core& core, bool transpose, const sigma_matrix& dense,
              const sigma_matrix& out) {
  Product<T> p = product_of<T>(core, dense, out);
  if (core.pattern == nullptr) return launch_tiles(context, diagonal_kernel<T>, 1, p);
  take_pattern(context, p, core, transpose);
  const sigma_pattern& pattern = *core.pattern;
  if (pattern.banded != 0) {
    const bool wide = pattern.lower + pattern.upper + 1 > kWideBand;
    return wide ? launch_tiles(context, band_kernel<T, 8>, 8, p) : launch_tiles(context, band_kernel<T, 4>, 4, p);
  }
  const Device& device = context.device();
  switch (slab_vectors(p.rows, pattern.entries, p.tokens, sizeof(T), device.shared_bytes, device.multiprocessors)) {
    case 4: return launch_slab(context, slab_kernel<T, 4>, 4, p);
    case 2: return launch_slab(context, slab_kernel<T, 2>, 2, p);
    case 1: return launch_slab(context, slab_kernel<T, 1>, 1, p);
    default: return launch_tiles(context, gather_kernel<T>, 1, p);
  }
}

}  // namespace

void spmm(sigma_context& context, const sigma_spmm& call) {
  const auto& [real, transpose, core, dense, out] = call;
  if (core->size == 0 || dense.columns == 0) return;
  for_types(real, {dense.dtype, out.dtype}, [&]<class T>(std::type_identity<T>) {
    multiply<T>(context, *call.core, call.transpose != 0, call.dense, call.out);
  });
}

}  // namespace sigma::cuda
