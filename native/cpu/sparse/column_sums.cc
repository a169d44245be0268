#include <algorithm>

#include "cpu/ops.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"

namespace sigma::cpu {
namespace {

// sums[j] += Σ_t a[t, j]
template <class S, class T = Real<S>>
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
        row_kernels<S>().add(columns, static_cast<const S*>(a.data) + t * a.stride + begin, part);
      }
      row_kernels<T>().add(columns, part, sum);
    }
    row_kernels<T>().add(columns, sum, sums + begin);
  });
}

}  // namespace

void column_sums(const sigma_column_sums& call) {
  for_types(call.real, {call.a.dtype}, [&]<class S>() {
    auto* const sums = static_cast<Real<S>*>(call.sums);
    if (call.fresh != 0) std::fill_n(sums, call.a.columns, Real<S>{0});
    add_columns<S>(call.a, sums);
  });
}

}  // namespace sigma::cpu
