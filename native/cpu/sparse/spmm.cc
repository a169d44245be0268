// Products of the sparse core C = diag(d) + g·M with a matrix (r, N), tokens contiguous. Each output row gathers, so
// that no two threads write the same number and the result does not depend on threads.
#include <algorithm>
#include <vector>

#include "cpu/ops.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"
#include "cpu/sparse/blocks.h"
#include "cpu/sparse/gate.h"

namespace sigma::cpu {
namespace {

// d[i] = [max(0, ] diagonal[i] [+ offset[i]] [)] [- origin[i]]
template <class T>
T diagonal_at(const sigma_core& core, int64_t i) {
  if (core.diagonal == nullptr) return T{0};
  T given = static_cast<const T*>(core.diagonal)[i];
  if (core.offset != nullptr) given += static_cast<const T*>(core.offset)[i];
  // A NaN propagates.
  const T present = core.rectified != 0 && given < 0 ? T{0} : given;
  return core.origin == nullptr ? present : present - static_cast<const T*>(core.origin)[i];
}

// The rows of M or Mᵀ, with the values in row order.
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

}  // namespace

void spmm(const sigma_spmm& call) {
  for_types(call.real, {call.dense.dtype, call.out.dtype},
            [&]<class T>() { multiply<T>(*call.core, call.transpose != 0, call.dense, call.out); });
}

}  // namespace sigma::cpu
