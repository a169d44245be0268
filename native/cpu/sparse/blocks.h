// Cache blocking of the sparse products over matrices (r, N).
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <optional>
#include <type_traits>

#include "contract/engine.h"
#include "cpu/runtime/columns.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/scratch.h"
#include "cpu/runtime/simd.h"

namespace sigma::cpu {

inline bool is_banded(const sigma_pattern* pattern) { return pattern != nullptr && pattern->banded != 0; }

// Whether packing the rows of the dense operand pays: each row is read often, in no order.
inline bool is_packed(const sigma_pattern* pattern) {
  return pattern != nullptr && pattern->banded == 0 && pattern->entries / 6 >= pattern->size;
}

// A task computes a block of rows for a block of tokens.
struct Tiling {
  int64_t rows, tokens;
  int64_t row_blocks, token_blocks;
};

// Each task packs all rows of its tokens into a slab. A slab has as many tokens as the kernels' strip, or half as many
// if only half fits the L2 cache. If there are few slabs, two tasks split the rows of each, and both pack the slab.
template <class S>
Tiling packed_tiling(int64_t rows, int64_t columns) {
  const bool fits = rows * 8 * static_cast<int64_t>(kCacheLine) <= int64_t{768} << 10;
  const int64_t tokens = (fits ? 8 : 4) * kLine<Real<S>>;
  const int64_t token_blocks = blocks(columns, tokens);
  const int64_t task_rows = token_blocks < 8 ? blocks(rows, 2) : rows;
  return {task_rows, tokens, blocks(rows, task_rows), token_blocks};
}

// Blocks of tokens of nearly equal size, in whole strips, so that the live rows stay in the L2 cache. In a band, the
// live rows are a window; in other patterns, a third of all rows is assumed.
template <class S>
Tiling direct_tiling(const sigma_pattern* pattern, int64_t rows, int64_t columns) {
  constexpr int64_t kRows = 64, kCache = int64_t{256} << 10, kStrip = 4 * kLine<S>;
  const int64_t band = pattern == nullptr ? 1 : pattern->entries / rows;
  const int64_t live = pattern == nullptr || is_banded(pattern) ? band + 2 * kBandRows : blocks(rows, 3);
  const int64_t fitting = kCache / (live * static_cast<int64_t>(sizeof(S))) / kStrip * kStrip;
  const int64_t token_blocks = blocks(columns, std::clamp(fitting, kStrip, 32 * kStrip));
  const int64_t tokens = blocks(columns, token_blocks * kStrip) * kStrip;
  return {kRows, tokens, blocks(rows, kRows), blocks(columns, tokens)};
}

template <class S>
Tiling tiling_for(const sigma_pattern* pattern, int64_t rows, int64_t columns) {
  if (rows == 0 || columns == 0) return {};
  return is_packed(pattern) ? packed_tiling<S>(rows, columns) : direct_tiling<S>(pattern, rows, columns);
}

// A view of some columns of a matrix.
template <class S>
sigma_matrix columns_of(const sigma_matrix& matrix, int64_t first, int64_t columns) {
  return {static_cast<S*>(matrix.data) + first, matrix.rows, columns, matrix.stride, matrix.dtype, nullptr};
}

// Some columns of a matrix, packed into scratch memory and widened from narrow numbers. The packed rows take few pages,
// start on cache lines and do not compete for cache sets. A view if they are not to be packed, or if there is no
// memory: slower, but the same bits.
template <class S>
class Slab {
 public:
  Slab(const sigma_matrix& matrix, int64_t first, int64_t columns, bool packed)
      : stride_(blocks(columns, kLine<Real<S>>) * kLine<Real<S>>), view_(columns_of<S>(matrix, first, columns)) {
    if (!packed) return;
    scratch_.emplace(static_cast<size_t>(matrix.rows * stride_) * sizeof(Real<S>));
    auto* const rows = static_cast<Real<S>*>(scratch_->data());
    if (rows == nullptr) return;
    const S* const from = static_cast<const S*>(view_.data);
    for (int64_t i = 0; i < matrix.rows; ++i) {
      row_kernels<S>().widen(columns, from + i * matrix.stride, rows + i * stride_);
    }
    view_ = {rows, matrix.rows, columns, stride_, dtype_of(real_of(matrix.dtype)), nullptr};
  }

  const sigma_matrix& view() const { return view_; }

 private:
  int64_t stride_;
  std::optional<Scratch> scratch_;
  sigma_matrix view_;
};

// Whether the matrix, of numbers S or a packed one, is still narrow.
template <class S>
bool is_stored(const sigma_matrix& matrix) {
  return std::is_same_v<S, Real<S>> || matrix.dtype != dtype_of(real_of(matrix.dtype));
}

// The hardware prefetcher does not detect such short pieces of rows.
template <class T>
void prefetch(T* row, int64_t tokens) {
  for (int64_t t = 0; t < tokens; t += kLine<T>) __builtin_prefetch(row + t, std::is_const_v<T> ? 0 : 1);
}

}  // namespace sigma::cpu
