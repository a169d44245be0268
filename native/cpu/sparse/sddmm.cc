// The gradient of M's entries: dot products of rows, sampled on the pattern. Only shapes determine the order of sums.
#include <algorithm>
#include <vector>

#include "cpu/ops.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"
#include "cpu/sparse/blocks.h"

namespace sigma::cpu {
namespace {

// Adds the samples of rows i to end - 1 of a band, at most kBandRows, tile by tile.
template <class S, class T = Real<S>>
void add_band_samples(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, int64_t i,
                      int64_t end, T* samples) {
  const int32_t* const begins = pattern.row_pointers;
  const int32_t* const columns = pattern.column_indices;
  // Clamps to the last row: the dot products of rows that do not exist are ignored.
  const auto row = [&](const sigma_matrix& m, int64_t k) {
    return static_cast<const S*>(m.data) + std::min(k, m.rows - 1) * m.stride;
  };
  for (int64_t j = columns[begins[i]]; j <= columns[begins[end] - 1]; j += kBandRows) {
    const S* const left[kBandRows] = {row(a, i), row(a, i + 1), row(a, i + 2), row(a, i + 3)};
    const S* const right[kBandRows] = {row(b, j), row(b, j + 1), row(b, j + 2), row(b, j + 3)};
    T tile[kBandRows][kBandRows];
    row_kernels<S>().tile_dots(a.columns, left, right, tile[0]);
    for (int64_t k = i; k < end; ++k) {
      // The index that column j has, or would have, among the samples.
      const int64_t at = begins[k] + j - columns[begins[k]];
      const int64_t until = std::min<int64_t>(begins[k + 1], at + kBandRows);
      for (int64_t p = std::max<int64_t>(begins[k], at); p < until; ++p) samples[p] += tile[k - i][p - at];
    }
  }
}

// The same for a few tokens: a tile would compute more dot products than the band has, for nothing to keep in
// registers.
template <class S, class T = Real<S>>
void add_row_samples(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, int64_t i, int64_t end,
                     T* samples) {
  for (; i < end; ++i) {
    const int32_t first = pattern.row_pointers[i];
    row_kernels<S>().dots(a.columns, static_cast<const S*>(a.data) + i * a.stride, pattern.row_pointers[i + 1] - first,
                          pattern.column_indices + first, static_cast<const S*>(b.data), b.stride, samples + first);
  }
}

template <class S, class T = Real<S>>
void sddmm_band(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, T* samples) {
  const Tiling tiling = tiling_for<S>(&pattern, pattern.size, a.columns);
  std::fill(samples, samples + pattern.entries, T{0});
  parallel_for(tiling.row_blocks, [&](int64_t task) {
    const int64_t begin = task * tiling.rows;
    const int64_t end = std::min(begin + tiling.rows, pattern.size);
    for (int64_t t = 0; t < a.columns; t += tiling.tokens) {
      const int64_t tokens = std::min(tiling.tokens, a.columns - t);
      const sigma_matrix left = columns_of<S>(a, t, tokens), right = columns_of<S>(b, t, tokens);
      if (a.columns <= kLine<T>) {
        add_row_samples<S>(pattern, left, right, begin, end, samples);
        continue;
      }
      for (int64_t i = begin; i < end; i += kBandRows) {
        add_band_samples<S>(pattern, left, right, i, std::min(i + kBandRows, end), samples);
      }
    }
  });
}

// Splits the tokens into ranges, so that each slab is packed once for all rows. Each range has separate sums, which are
// added up in order.
template <class S, class T = Real<S>>
void sddmm_gather(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, T* samples) {
  const Tiling tiling = tiling_for<S>(&pattern, pattern.size, a.columns);
  const bool packed = is_packed(&pattern);
  const int64_t ranges = std::min<int64_t>(tiling.token_blocks, 16);
  std::vector<T> sums(static_cast<size_t>(ranges * pattern.entries));
  parallel_for(ranges * tiling.row_blocks, [&](int64_t task) {
    const int64_t range = task / tiling.row_blocks;
    const int64_t begin = task % tiling.row_blocks * tiling.rows;
    const int64_t end = std::min(begin + tiling.rows, pattern.size);
    T* const sum = sums.data() + range * pattern.entries;
    const int64_t last = (range + 1) * tiling.token_blocks / ranges;
    for (int64_t block = range * tiling.token_blocks / ranges; block < last; ++block) {
      const int64_t t = block * tiling.tokens;
      const int64_t tokens = std::min(tiling.tokens, a.columns - t);
      const Slab<S> slab(b, t, tokens, packed);
      const sigma_matrix& right = slab.view();
      for (int64_t i = begin; i < end; ++i) {
        const S* const left = static_cast<const S*>(a.data) + i * a.stride + t;
        if (packed && i + 1 < end) prefetch(left + a.stride, tokens);
        const int32_t first = pattern.row_pointers[i];
        const int64_t entries = pattern.row_pointers[i + 1] - first;
        const int32_t* const indices = pattern.column_indices + first;
        if (is_stored<S>(right)) {
          row_kernels<S>().dots(tokens, left, entries, indices, static_cast<const S*>(right.data), right.stride,
                                sum + first);
        } else {
          row_kernels<S>().dots_wide(tokens, left, entries, indices, static_cast<const T*>(right.data), right.stride,
                                     sum + first);
        }
      }
    }
  });
  std::fill(samples, samples + pattern.entries, T{0});
  for (int64_t range = 0; range < ranges; ++range) {
    row_kernels<T>().add(pattern.entries, sums.data() + range * pattern.entries, samples);
  }
}

// samples[p] = Σ_t a[i_p, t] b[j_p, t], in an order fixed by the shapes
template <class S, class T = Real<S>>
void sample(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, T* samples) {
  if (!is_banded(&pattern)) {
    sddmm_gather<S>(pattern, a, b, samples);
  } else if (pattern.entries > pattern.size) {
    sddmm_band<S>(pattern, a, b, samples);
  } else {  // a band of one entry per row is the diagonal
    row_dots({real_of(a.dtype), a, b, /* mask = */ nullptr, /* offset = */ nullptr, samples, /* fresh = */ 1});
  }
}

}  // namespace

void sddmm(const sigma_sddmm& call) {
  for_types(call.real, {call.a.dtype, call.b.dtype},
            [&]<class S>() { sample<S>(*call.pattern, call.a, call.b, static_cast<Real<S>*>(call.samples)); });
}

}  // namespace sigma::cpu
