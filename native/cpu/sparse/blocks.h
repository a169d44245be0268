// How the sparse products go through matrices (r, N): in blocks of rows and tokens that stay in the cache.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "contract/backend.h"
#include "cpu/runtime/columns.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"
#include "cpu/runtime/thread_scratch.h"

namespace sigma::cpu {

inline bool is_banded(const sigma_pattern* pattern) { return pattern != nullptr && pattern->banded != 0; }

// Whether the rows of the dense operand are asked for so often, and in no order, that it pays to copy them together.
inline bool is_packed(const sigma_pattern* pattern) {
  return pattern != nullptr && pattern->banded == 0 && pattern->entries / 6 >= pattern->size;
}

// What a task computes: a block of rows on a block of tokens.
struct Tiling {
  int64_t rows, tokens;
  int64_t row_blocks, token_blocks;
};

// Each task packs all rows of its tokens: a strip of the kernels, or half of one where only that fits the second-level
// cache. Where there are few slabs, two tasks share each one's rows, and both pack it.
template <class T>
Tiling packed_tiling(int64_t rows, int64_t columns) {
  const bool fits = rows * 8 * static_cast<int64_t>(kCacheLine) <= int64_t{768} << 10;
  const int64_t tokens = (fits ? 8 : 4) * kLine<T>;
  const int64_t token_blocks = blocks(columns, tokens);
  const int64_t task_rows = token_blocks < 8 ? blocks(rows, 2) : rows;
  return {task_rows, tokens, blocks(rows, task_rows), token_blocks};
}

// Tokens for which the rows that are live stay in the second-level cache, in blocks as even as whole strips allow: of a
// band these are the ones it goes through at that time, of other patterns any.
template <class T>
Tiling direct_tiling(const sigma_pattern* pattern, int64_t rows, int64_t columns) {
  constexpr int64_t kRows = 64, kCache = int64_t{256} << 10, kStrip = 4 * kLine<T>;
  const int64_t band = pattern == nullptr ? 1 : pattern->entries / rows;
  const int64_t live = pattern == nullptr || is_banded(pattern) ? band + 2 * kBandRows : blocks(rows, 3);
  const int64_t fitting = kCache / (live * static_cast<int64_t>(sizeof(T))) / kStrip * kStrip;
  const int64_t token_blocks = blocks(columns, std::clamp(fitting, kStrip, 32 * kStrip));
  const int64_t tokens = blocks(columns, token_blocks * kStrip) * kStrip;
  return {kRows, tokens, blocks(rows, kRows), blocks(columns, tokens)};
}

template <class T>
Tiling tiling_for(const sigma_pattern* pattern, int64_t rows, int64_t columns) {
  if (rows == 0 || columns == 0) return {};
  return is_packed(pattern) ? packed_tiling<T>(rows, columns) : direct_tiling<T>(pattern, rows, columns);
}

// Columns of a matrix, where they are.
template <class T>
sigma_matrix columns_of(const sigma_matrix& matrix, int64_t first, int64_t columns) {
  return {static_cast<T*>(matrix.data) + first, matrix.rows, columns, matrix.stride, matrix.dtype, nullptr};
}

// A copy of columns in this thread's scratch memory, valid until its next one: close together, so that they take few
// pages, and each row starting at a line of the cache, in sets of its own. Without memory for a copy: the columns where
// they are, which takes longer and gives the same bits.
template <class T>
sigma_matrix packed_columns(const sigma_matrix& matrix, int64_t first, int64_t columns) {
  const int64_t stride = blocks(columns, kLine<T>) * kLine<T>;
  T* const slab = static_cast<T*>(thread_scratch(static_cast<size_t>(matrix.rows * stride) * sizeof(T)));
  if (slab == nullptr) return columns_of<T>(matrix, first, columns);
  const T* const from = static_cast<const T*>(matrix.data) + first;
  for (int64_t i = 0; i < matrix.rows; ++i) {
    std::memcpy(slab + i * stride, from + i * matrix.stride, static_cast<size_t>(columns) * sizeof(T));
  }
  return {slab, matrix.rows, columns, stride, matrix.dtype, nullptr};
}

// A short piece of a row is no stream that the hardware would foresee.
template <class T>
void prefetch(T* row, int64_t tokens) {
  for (int64_t t = 0; t < tokens; t += kLine<T>) __builtin_prefetch(row + t, std::is_const_v<T> ? 0 : 1);
}

}  // namespace sigma::cpu
