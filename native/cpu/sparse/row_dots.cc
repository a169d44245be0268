#include <algorithm>

#include "cpu/ops.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"

namespace sigma::cpu {
namespace {

// Whether row i is summed: if there is a mask, mask[i] [+ offset[i]] > 0.
template <class T>
bool is_wanted(const T* mask, const T* offset, int64_t i) {
  return mask == nullptr || (offset == nullptr ? mask[i] : mask[i] + offset[i]) > 0;
}

// sums[i] += Σ_t a[i, t] b[i, t]
template <class S, class T = Real<S>>
void add_row_dots(const sigma_matrix& a, const sigma_matrix& b, const T* mask, const T* offset, T* sums) {
  // Longer sums are split, so that rounding does not grow with the number of tokens.
  constexpr int64_t kLongest = 8192;
  constexpr int64_t kRows = 128;
  parallel_for(blocks(a.rows, kRows), [&](int64_t task) {
    for (int64_t i = task * kRows; i < std::min((task + 1) * kRows, a.rows); ++i) {
      if (!is_wanted(mask, offset, i)) continue;
      const S* const left = static_cast<const S*>(a.data) + i * a.stride;
      const S* const right = static_cast<const S*>(b.data) + i * b.stride;
      T sum = 0;
      for (int64_t t = 0; t < a.columns; t += kLongest) {
        sum += row_kernels<S>().dot(std::min(kLongest, a.columns - t), left + t, right + t);
      }
      sums[i] += sum;
    }
  });
}

}  // namespace

void row_dots(const sigma_row_dots& call) {
  for_types(call.real, {call.a.dtype, call.b.dtype}, [&]<class S>() {
    using T = Real<S>;
    if (call.fresh != 0) std::fill_n(static_cast<T*>(call.sums), call.a.rows, T{0});
    add_row_dots<S>(call.a, call.b, static_cast<const T*>(call.mask), static_cast<const T*>(call.offset),
                    static_cast<T*>(call.sums));
  });
}

}  // namespace sigma::cpu
