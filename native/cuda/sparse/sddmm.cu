// The gradient of the sparse core's entries: samples[p] = Σ_t a[i_p, t] b[j_p, t].
#include "cuda/ops.h"
#include "cuda/runtime/dispatch.h"
#include "cuda/sparse/kernels/samples.cuh"
#include "cuda/sparse/kernels/slab_samples.cuh"

namespace sigma::cuda {
namespace {

constexpr const char* kSampling = "sddmm";

// How many warps keep any device busy, and the smallest split, which still repays the reduction over the lanes. These
// do not depend on the device, because they determine the order of sums.
constexpr int64_t kBusyWarps = 16384;
constexpr int64_t kLeastTokens = 512;
// How many slabs, and splits, keep any device busy.
constexpr int64_t kBusySlabs = 128;

template <class T>
Sampling<T> sampling_of(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b) {
  Sampling<T> p = {};
  p.rows = pattern.size;
  p.tokens = a.columns;
  p.a = static_cast<const T*>(a.data);
  p.a_stride = a.stride;
  p.b = static_cast<const T*>(b.data);
  p.b_stride = b.stride;
  p.aligned = rows_aligned<T>({a, b});
  p.entries = pattern.entries;
  p.pointers = pattern.row_pointers;
  p.indices = pattern.column_indices;
  return p;
}

template <class V>
void sum_partials(sigma_context& context, int64_t entries, int64_t splits, const V* partials, V* samples) {
  launch(context, kSampling, sum_partials_kernel<V>, flat_grid(entries), dim3(256), 0, entries,
         static_cast<int>(splits), partials, samples);
}

// One warp per `rows_of_warp` rows and split of the tokens.
template <class T>
void sample_rows(sigma_context& context, void (*kernel)(Sampling<T>), int64_t rows_of_warp, Sampling<T> p,
                 Number<T>* samples) {
  const int64_t warps = divided_up(p.rows, rows_of_warp);
  const Split split = split_of(p.tokens, warps, kBusyWarps, kTile<T>, kLeastTokens, p.entries);
  p.split_tokens = split.size;
  p.partials =
      split.count == 1
          ? samples
          : static_cast<Number<T>*>(context.scratch(static_cast<size_t>(split.count * p.entries) * sizeof(Number<T>)));
  const dim3 grid(grid_side(divided_up(warps, kWarps)), short_side(split.count));
  launch(context, kSampling, kernel, grid, dim3(kWarpSize, kWarps), 0, p);
  if (split.count > 1) sum_partials<Number<T>>(context, p.entries, split.count, p.partials, samples);
}

template <class T>
void sample_slabs(sigma_context& context, void (*kernel)(Sampling<T>, const int32_t*), int vectors, Sampling<T> p,
                  Number<T>* samples) {
  const Split split = split_of(p.tokens, 1, kBusySlabs, vectors * kPerVector<T>, 1, p.entries);
  // The partial sums, followed by the row of each entry.
  const size_t partials = static_cast<size_t>(split.count * p.entries);
  const size_t entries = static_cast<size_t>(p.entries);
  p.split_tokens = split.size;
  p.partials = static_cast<Number<T>*>(context.scratch(partials * sizeof(Number<T>) + entries * sizeof(int32_t)));
  auto* const rows = reinterpret_cast<int32_t*>(p.partials + partials);
  launch(context, kSampling, entry_rows_kernel<int32_t>, dim3(grid_side(divided_up(p.rows, kWarps))),
         dim3(kWarpSize, kWarps), 0, p.rows, p.pointers, rows);
  const int64_t items = p.rows * vectors;
  const int64_t threads = divided_up(std::max(items, p.entries), kWarpSize) * kWarpSize;
  launch(context, kSampling, kernel, dim3(grid_side(split.count)),
         dim3(static_cast<unsigned>(std::min<int64_t>(threads, kSlabThreads))),
         static_cast<size_t>(items * kVectorBytes), p, rows);
  sum_partials<Number<T>>(context, p.entries, split.count, p.partials, samples);
}

template <class T>
void sample(sigma_context& context, const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b,
            Number<T>* samples) {
  const Sampling<T> p = sampling_of<T>(pattern, a, b);
  if (pattern.banded != 0) return sample_rows(context, band_samples_kernel<T>, kBandRows, p, samples);
  switch (slab_vectors(p.rows, p.entries, p.tokens, sizeof(T), context.device().shared_bytes, kBusySlabs)) {
    case 4: return sample_slabs(context, slab_samples_kernel<T, 4>, 4, p, samples);
    case 2: return sample_slabs(context, slab_samples_kernel<T, 2>, 2, p, samples);
    case 1: return sample_slabs(context, slab_samples_kernel<T, 1>, 1, p, samples);
    default: return sample_rows(context, samples_kernel<T>, 1, p, samples);
  }
}

}  // namespace

void sddmm(sigma_context& context, const sigma_sddmm& call) {
  if (call.pattern->entries == 0) return;
  for_types(call.real, {call.a.dtype, call.b.dtype}, [&]<class T>(std::type_identity<T>) {
    sample<T>(context, *call.pattern, call.a, call.b, static_cast<Number<T>*>(call.samples));
  });
}

}  // namespace sigma::cuda
