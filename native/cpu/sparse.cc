// The sparse core C = diag(d) + g·M on intermediates (r, N), tokens contiguous: every product is a sum of scaled rows,
// every gradient a dot of rows. Outputs gather, so no two threads write one number and no order depends on threads.
#include <algorithm>
#include <cmath>
#include <vector>

#include "ops.h"
#include "pool.h"
#include "simd.h"

namespace sigma::cpu {
namespace {

// Rows of the core in a task.
constexpr int64_t kRows = 128;

// Tokens in a task, in whole strips of the kernels. Any row of the dense operand may be asked for again and again, so
// that all rows of the block should stay in the second-level cache; of a band only the last few, which the first holds.
template <class T>
int64_t token_block(const sigma_pattern* pattern, int64_t rows) {
  constexpr int64_t kStrip = 256 / static_cast<int64_t>(sizeof(T));
  const bool banded = pattern == nullptr || pattern->banded != 0;
  const int64_t reused = pattern == nullptr ? 1 : banded ? pattern->entries / rows + 2 : rows;
  const int64_t cache = banded ? int64_t{24} << 10 : int64_t{768} << 10;
  const int64_t fitting = cache / (reused * static_cast<int64_t>(sizeof(T))) / kStrip * kStrip;
  return std::clamp(fitting, kStrip, 32 * kStrip);
}

template <class T>
T gate_factor(const sigma_core& core) {
  if (core.gate == nullptr) return T{1};
  return T{1} / (T{1} + std::exp(-*static_cast<const T*>(core.gate)));
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

  GatherRow<T> gather(int64_t i, T diagonal, const T* own, T* out) const {
    if (pointers_ == nullptr) return {diagonal, own, 0, nullptr, nullptr, out};
    const int32_t begin = pointers_[i];
    return {diagonal, own, pointers_[i + 1] - begin, indices_ + begin, values_ + begin, out};
  }
  BandRow<T> band(int64_t i, T diagonal, const T* own, T* out) const {
    const int32_t begin = pointers_[i];
    const int64_t first = indices_[begin];
    return {diagonal, own, first, first + (pointers_[i + 1] - begin), values_ + begin, out};
  }

 private:
  const int32_t* pointers_ = nullptr;
  const int32_t* indices_ = nullptr;
  const T* values_ = nullptr;
  std::vector<T> permuted_;
};

}  // namespace

// out (r, N) = C dense, or Cᵀ dense
template <class T>
void spmm(const sigma_core& core, bool transpose, const sigma_matrix& dense, const sigma_matrix& out) {
  const T g = gate_factor<T>(core);
  const Rows<T> rows(core, transpose);
  const bool banded = core.pattern != nullptr && core.pattern->banded != 0;
  const T* const diagonal = static_cast<const T*>(core.diagonal);
  const int64_t row_blocks = blocks(core.size, kRows);
  const int64_t block = token_block<T>(core.pattern, core.size);

  parallel_for(row_blocks * blocks(dense.columns, block), [&](int64_t task) {
    const int64_t end = std::min((task % row_blocks + 1) * kRows, core.size);
    const int64_t first_token = task / row_blocks * block;
    const int64_t tokens = std::min(block, dense.columns - first_token);
    const T* const from = static_cast<const T*>(dense.data) + first_token;
    T* const to = static_cast<T*>(out.data) + first_token;
    const auto d = [&](int64_t i) { return diagonal_at<T>(core, i); };
    const auto own = [&](int64_t i) { return diagonal != nullptr ? from + i * dense.stride : nullptr; };
    int64_t i = task % row_blocks * kRows;
    for (; banded && i + 2 <= end; i += 2) {
      const BandRow<T> a = rows.band(i, d(i), own(i), to + i * out.stride);
      const BandRow<T> b = rows.band(i + 1, d(i + 1), own(i + 1), to + (i + 1) * out.stride);
      kernels<T>().band(tokens, &a, &b, g, from, dense.stride);
    }
    for (; i < end; ++i) {
      const GatherRow<T> row = rows.gather(i, d(i), own(i), to + i * out.stride);
      kernels<T>().gather(tokens, &row, g, from, dense.stride);
    }
  });
}

// samples[p] = Σ_t a[i_p, t] b[j_p, t]: block after block of tokens, each block's dot in the kernel's fixed order
template <class T>
void sddmm(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, T* samples) {
  const T* const left = static_cast<const T*>(a.data);
  const T* const right = static_cast<const T*>(b.data);
  const int64_t block = token_block<T>(&pattern, pattern.size);
  parallel_for(blocks(pattern.size, kRows), [&](int64_t task) {
    const int64_t begin = task * kRows;
    const int64_t end = std::min(begin + kRows, pattern.size);
    std::fill(samples + pattern.row_pointers[begin], samples + pattern.row_pointers[end], T{0});
    for (int64_t t = 0; t < a.columns; t += block) {
      const int64_t tokens = std::min(block, a.columns - t);
      for (int64_t i = begin; i < end; ++i) {
        const int32_t first = pattern.row_pointers[i];
        kernels<T>().dots(tokens, left + i * a.stride + t, pattern.row_pointers[i + 1] - first,
                          pattern.column_indices + first, right + t, b.stride, samples + first);
      }
    }
  });
}

// dvalues[p] += g samples[p]; dgate += g (1 - g) Σ_p values[p] samples[p]
template <class T>
void core_gradient(const sigma_core& core, const T* samples, T* dvalues, T* dgate) {
  const T g = gate_factor<T>(core);
  const int64_t entries = core.pattern->entries;
  if (dvalues != nullptr) {
    for (int64_t p = 0; p < entries; ++p) dvalues[p] += g * samples[p];
  }
  if (dgate != nullptr)
    *dgate += g * (T{1} - g) * kernels<T>().dot(entries, static_cast<const T*>(core.values), samples);
}

// sums[i] += Σ_t a[i, t] b[i, t], where mask[i] > 0 if there is a mask
template <class T>
void row_dots(const sigma_matrix& a, const sigma_matrix& b, const T* mask, T* sums) {
  parallel_for(blocks(a.rows, kRows), [&](int64_t task) {
    for (int64_t i = task * kRows; i < std::min((task + 1) * kRows, a.rows); ++i) {
      if (mask != nullptr && !(mask[i] > 0)) continue;
      sums[i] += kernels<T>().dot(a.columns, static_cast<const T*>(a.data) + i * a.stride,
                                  static_cast<const T*>(b.data) + i * b.stride);
    }
  });
}

// sums[j] += Σ_t a[t, j]
template <class T>
void column_sums(const sigma_matrix& a, T* sums) {
  constexpr int64_t kColumns = 512;
  parallel_for(blocks(a.columns, kColumns), [&](int64_t task) {
    const int64_t begin = task * kColumns;
    const int64_t columns = std::min(kColumns, a.columns - begin);
    T block[kColumns] = {};
    for (int64_t t = 0; t < a.rows; ++t) {
      kernels<T>().add(columns, static_cast<const T*>(a.data) + t * a.stride + begin, block);
    }
    kernels<T>().add(columns, block, sums + begin);
  });
}

#define SIGMA_INSTANTIATE(T)                                                                  \
  template void spmm<T>(const sigma_core&, bool, const sigma_matrix&, const sigma_matrix&);   \
  template void sddmm<T>(const sigma_pattern&, const sigma_matrix&, const sigma_matrix&, T*); \
  template void core_gradient<T>(const sigma_core&, const T*, T*, T*);                        \
  template void row_dots<T>(const sigma_matrix&, const sigma_matrix&, const T*, T*);          \
  template void column_sums<T>(const sigma_matrix&, T*);
SIGMA_INSTANTIATE(float)
SIGMA_INSTANTIATE(double)
#undef SIGMA_INSTANTIATE

}  // namespace sigma::cpu
