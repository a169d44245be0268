// The sparse core C = diag(d) + g·M on intermediates (r, N), tokens contiguous: every product is a sum of scaled rows,
// every gradient a dot of rows. Outputs gather, so no two threads write one number and no order depends on threads.
#include <algorithm>
#include <cmath>
#include <vector>

#include "dispatch.h"
#include "ops.h"
#include "pool.h"
#include "simd.h"
#include "sparse_blocks.h"

namespace sigma::cpu {
namespace {

template <class T>
T sigmoid(T x) {
  return T{1} / (T{1} + std::exp(-x));
}

template <class T>
T gate_factor(const sigma_core& core) {
  return core.gate == nullptr ? T{1} : sigmoid(*static_cast<const T*>(core.gate));
}

// d[i] = [max(0, diagonal[i])] [- origin[i]]
template <class T>
T diagonal_at(const sigma_core& core, int64_t i) {
  if (core.diagonal == nullptr) return T{0};
  const T given = static_cast<const T*>(core.diagonal)[i];
  // Written so that a NaN stays one.
  const T present = core.rectified != 0 && given < 0 ? T{0} : given;
  return core.origin == nullptr ? present : present - static_cast<const T*>(core.origin)[i];
}

// M or Mᵀ by rows, with the values in that order.
template <class T>
class Rows {
 public:
  Rows(const sigma_core& core, bool transpose) {
    if (core.pattern == nullptr) return;
    const sigma_pattern& p = *core.pattern;
    const T* const given = static_cast<const T*>(core.values);
    pointers_ = transpose ? p.transposed_row_pointers : p.row_pointers;
    indices_ = transpose ? p.transposed_indices : p.column_indices;
    values_ = given;
    if (!transpose) return;
    permuted_.resize(static_cast<size_t>(p.entries));
    for (size_t q = 0; q < permuted_.size(); ++q) permuted_[q] = given[p.transposed_slots[q]];
    values_ = permuted_.data();
  }

  SparseRow<T> operator()(int64_t i, T diagonal, const T* own, T* out) const {
    if (pointers_ == nullptr) return {diagonal, own, 0, nullptr, nullptr, out};
    const int32_t begin = pointers_[i];
    return {diagonal, own, pointers_[i + 1] - begin, indices_ + begin, values_ + begin, out};
  }

 private:
  const int32_t* pointers_ = nullptr;
  const int32_t* indices_ = nullptr;
  const T* values_ = nullptr;
  std::vector<T> permuted_;
};

// The samples of the rows from i to before `end` (kBandRows at most) of a band, whose tiles of dots cover them.
template <class T>
void add_band_samples(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, int64_t i,
                      int64_t end, T* samples) {
  const int32_t* const begins = pattern.row_pointers;
  const int32_t* const columns = pattern.column_indices;
  // Rows beyond the last are not asked for: any other stands in for them.
  const auto row = [&](const sigma_matrix& m, int64_t k) {
    return static_cast<const T*>(m.data) + std::min(k, m.rows - 1) * m.stride;
  };
  for (int64_t j = columns[begins[i]]; j <= columns[begins[end] - 1]; j += kBandRows) {
    const T* const left[kBandRows] = {row(a, i), row(a, i + 1), row(a, i + 2), row(a, i + 3)};
    const T* const right[kBandRows] = {row(b, j), row(b, j + 1), row(b, j + 2), row(b, j + 3)};
    T tile[kBandRows][kBandRows];
    kernels<T>().tile_dots(a.columns, left, right, tile[0]);
    for (int64_t k = i; k < end; ++k) {
      // Where column j stands among the row's samples, or would stand.
      const int64_t at = begins[k] + j - columns[begins[k]];
      const int64_t until = std::min<int64_t>(begins[k + 1], at + kBandRows);
      for (int64_t p = std::max<int64_t>(begins[k], at); p < until; ++p) samples[p] += tile[k - i][p - at];
    }
  }
}

template <class T>
void sddmm_band(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, T* samples) {
  const Tiling tiling = tiling_for<T>(&pattern, pattern.size, a.columns);
  std::fill(samples, samples + pattern.entries, T{0});
  parallel_for(tiling.row_blocks, [&](int64_t task) {
    const int64_t begin = task * tiling.rows;
    const int64_t end = std::min(begin + tiling.rows, pattern.size);
    for (int64_t t = 0; t < a.columns; t += tiling.tokens) {
      const int64_t tokens = std::min(tiling.tokens, a.columns - t);
      const sigma_matrix left = columns_of<T>(a, t, tokens), right = columns_of<T>(b, t, tokens);
      for (int64_t i = begin; i < end; i += kBandRows) {
        add_band_samples(pattern, left, right, i, std::min(i + kBandRows, end), samples);
      }
    }
  });
}

// Tasks of the same rows go through other tokens, so that each slab is packed for all rows at once: every range of
// tokens has its own sums, which are added up in order.
template <class T>
void sddmm_gather(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, T* samples) {
  const Tiling tiling = tiling_for<T>(&pattern, pattern.size, a.columns);
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
      const sigma_matrix right = packed ? packed_columns<T>(b, t, tokens) : columns_of<T>(b, t, tokens);
      for (int64_t i = begin; i < end; ++i) {
        const T* const left = static_cast<const T*>(a.data) + i * a.stride + t;
        if (packed && i + 1 < end) prefetch(left + a.stride, tokens);
        const int32_t first = pattern.row_pointers[i];
        kernels<T>().dots(tokens, left, pattern.row_pointers[i + 1] - first, pattern.column_indices + first,
                          static_cast<const T*>(right.data), right.stride, sum + first);
      }
    }
  });
  std::fill(samples, samples + pattern.entries, T{0});
  for (int64_t range = 0; range < ranges; ++range) {
    kernels<T>().add(pattern.entries, sums.data() + range * pattern.entries, samples);
  }
}

// out (r, N) = C dense, or Cᵀ dense
template <class T>
void multiply(const sigma_core& core, bool transpose, const sigma_matrix& dense, const sigma_matrix& out) {
  const T g = gate_factor<T>(core);
  const Rows<T> rows(core, transpose);
  const bool banded = is_banded(core.pattern);
  const bool packed = is_packed(core.pattern);
  const Tiling tiling = tiling_for<T>(core.pattern, core.size, dense.columns);

  parallel_for(tiling.row_blocks * tiling.token_blocks, [&](int64_t task) {
    const int64_t end = std::min((task % tiling.row_blocks + 1) * tiling.rows, core.size);
    const int64_t first = task / tiling.row_blocks * tiling.tokens;
    const int64_t tokens = std::min(tiling.tokens, dense.columns - first);
    const sigma_matrix operand = packed ? packed_columns<T>(dense, first, tokens) : columns_of<T>(dense, first, tokens);
    const T* const from = static_cast<const T*>(operand.data);
    T* const to = static_cast<T*>(out.data) + first;
    const auto row = [&](int64_t i) {
      const T* const own = core.diagonal != nullptr ? from + i * operand.stride : nullptr;
      return rows(i, diagonal_at<T>(core, i), own, to + i * out.stride);
    };
    int64_t i = task % tiling.row_blocks * tiling.rows;
    for (; banded && i + kBandRows <= end; i += kBandRows) {
      const SparseRow<T> group[kBandRows] = {row(i), row(i + 1), row(i + 2), row(i + 3)};
      kernels<T>().band(tokens, group, g, from, operand.stride);
    }
    for (; i < end; ++i) {
      if (packed && i + 1 < end) prefetch(to + (i + 1) * out.stride, tokens);
      const SparseRow<T> one = row(i);
      kernels<T>().gather(tokens, &one, g, from, operand.stride);
    }
  });
}

// sums[i] += Σ_t a[i, t] b[i, t], where mask[i] > 0 if there is a mask
template <class T>
void add_row_dots(const sigma_matrix& a, const sigma_matrix& b, const T* mask, T* sums) {
  // Longer sums are made of parts, or rounding would grow with the number of tokens.
  constexpr int64_t kLongest = 8192;
  constexpr int64_t kRows = 128;
  parallel_for(blocks(a.rows, kRows), [&](int64_t task) {
    for (int64_t i = task * kRows; i < std::min((task + 1) * kRows, a.rows); ++i) {
      if (mask != nullptr && !(mask[i] > 0)) continue;
      const T* const left = static_cast<const T*>(a.data) + i * a.stride;
      const T* const right = static_cast<const T*>(b.data) + i * b.stride;
      T sum = 0;
      for (int64_t t = 0; t < a.columns; t += kLongest) {
        sum += kernels<T>().dot(std::min(kLongest, a.columns - t), left + t, right + t);
      }
      sums[i] += sum;
    }
  });
}

// samples[p] = Σ_t a[i_p, t] b[j_p, t]: block after block of tokens, each block's dot in the kernel's fixed order
template <class T>
void sample(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, T* samples) {
  if (!is_banded(&pattern)) {
    sddmm_gather(pattern, a, b, samples);
  } else if (pattern.entries > pattern.size) {
    sddmm_band(pattern, a, b, samples);
  } else {  // a band of one entry a row is the diagonal
    std::fill(samples, samples + pattern.entries, T{0});
    add_row_dots<T>(a, b, nullptr, samples);
  }
}

// dvalues[p] += g samples[p]; dgate += g (1 - g) Σ_p values[p] samples[p]
template <class T>
void pull_back(const sigma_core& core, const T* samples, T* dvalues, T* dgate) {
  const T g = gate_factor<T>(core);
  const int64_t entries = core.pattern->entries;
  if (dvalues != nullptr) {
    for (int64_t p = 0; p < entries; ++p) dvalues[p] += g * samples[p];
  }
  if (dgate != nullptr) {
    // 1 - g as sigmoid(-gate), in which nothing cancels.
    const T rest = core.gate == nullptr ? T{0} : sigmoid(-*static_cast<const T*>(core.gate));
    *dgate += g * rest * kernels<T>().dot(entries, static_cast<const T*>(core.values), samples);
  }
}

// sums[j] += Σ_t a[t, j]
template <class T>
void add_columns(const sigma_matrix& a, T* sums) {
  constexpr int64_t kColumns = 512;
  parallel_for(blocks(a.columns, kColumns), [&](int64_t task) {
    const int64_t begin = task * kColumns;
    const int64_t columns = std::min(kColumns, a.columns - begin);
    constexpr int64_t kRows = 256;
    T sum[kColumns] = {};
    for (int64_t first = 0; first < a.rows; first += kRows) {
      T part[kColumns] = {};
      for (int64_t t = first; t < std::min(first + kRows, a.rows); ++t) {
        kernels<T>().add(columns, static_cast<const T*>(a.data) + t * a.stride + begin, part);
      }
      kernels<T>().add(columns, part, sum);
    }
    kernels<T>().add(columns, sum, sums + begin);
  });
}

}  // namespace

void spmm(const sigma_spmm& call) {
  for_types(call.real, {call.dense.dtype, call.out.dtype},
            [&]<class T>() { multiply<T>(*call.core, call.transpose != 0, call.dense, call.out); });
}

void sddmm(const sigma_sddmm& call) {
  for_types(call.real, {call.a.dtype, call.b.dtype},
            [&]<class T>() { sample<T>(*call.pattern, call.a, call.b, static_cast<T*>(call.samples)); });
}

void core_gradient(const sigma_core_gradient& call) {
  for_real(call.real, [&]<class T>() {
    pull_back<T>(*call.core, static_cast<const T*>(call.samples), static_cast<T*>(call.dvalues),
                 static_cast<T*>(call.dgate));
  });
}

void row_dots(const sigma_row_dots& call) {
  for_types(call.real, {call.a.dtype, call.b.dtype}, [&]<class T>() {
    add_row_dots<T>(call.a, call.b, static_cast<const T*>(call.mask), static_cast<T*>(call.sums));
  });
}

void column_sums(const sigma_column_sums& call) {
  for_types(call.real, {call.a.dtype}, [&]<class T>() { add_columns<T>(call.a, static_cast<T*>(call.sums)); });
}

}  // namespace sigma::cpu
