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

// The rows of M or Mᵀ, with the values in row order, for operands of numbers S.
template <class S>
class Rows {
  using T = Real<S>;

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

  SparseRow<S> operator()(int64_t i, T diagonal, const S* own, S* out) const {
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
template <class S>
void multiply(const sigma_core& core, bool transpose, const sigma_matrix& dense, const sigma_matrix& out) {
  using T = Real<S>;
  const T g = gate_factor<T>(core);
  const Rows<S> rows(core, transpose);
  const bool banded = is_banded(core.pattern);
  const bool packed = is_packed(core.pattern);
  const Tiling tiling = tiling_for<S>(core.pattern, core.size, dense.columns);

  parallel_for(tiling.row_blocks * tiling.token_blocks, [&](int64_t task) {
    const int64_t end = std::min((task % tiling.row_blocks + 1) * tiling.rows, core.size);
    const int64_t first = task / tiling.row_blocks * tiling.tokens;
    const int64_t tokens = std::min(tiling.tokens, dense.columns - first);
    const Slab<S> slab(dense, first, tokens, packed);
    const sigma_matrix& operand = slab.view();
    const S* const from = static_cast<const S*>(dense.data) + first;
    S* const to = static_cast<S*>(out.data) + first;
    const auto row = [&](int64_t i) {
      const S* const own = core.diagonal != nullptr ? from + i * dense.stride : nullptr;
      return rows(i, diagonal_at<T>(core, i), own, to + i * out.stride);
    };
    int64_t i = task % tiling.row_blocks * tiling.rows;
    for (; banded && i + kBandRows <= end; i += kBandRows) {
      const SparseRow<S> group[kBandRows] = {row(i), row(i + 1), row(i + 2), row(i + 3)};
      row_kernels<S>().band(tokens, group, g, from, dense.stride);
    }
    for (; i < end; ++i) {
      if (packed && i + 1 < end) prefetch(to + (i + 1) * out.stride, tokens);
      const SparseRow<S> one = row(i);
      if (is_stored<S>(operand)) {
        row_kernels<S>().gather(tokens, &one, g, static_cast<const S*>(operand.data), operand.stride);
      } else {
        row_kernels<S>().gather_wide(tokens, &one, g, static_cast<const T*>(operand.data), operand.stride);
      }
    }
  });
}

}  // namespace

void spmm(const sigma_spmm& call) {
  for_types(call.real, {call.dense.dtype, call.out.dtype},
            [&]<class S>() { multiply<S>(*call.core, call.transpose != 0, call.dense, call.out); });
}

}  // namespace sigma::cpu
