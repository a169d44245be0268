// C (m, n) = op(A) op(B) [+ C] [+ bias (n) on every row].
//
// BLAS is single-threaded; the pool distributes tiles of C. Tiles depend on the shape only, not on the number of
// threads, so that results are bitwise reproducible.
#include <algorithm>
#include <array>
#include <type_traits>

#include "cpu/gemm/blas.h"
#include "cpu/gemm/packed.h"
#include "cpu/ops.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/pool.h"

namespace sigma::cpu {
namespace {

// Below this many multiply-adds, waking a thread costs more than it saves.
constexpr int64_t kParallelFrom = int64_t{1} << 19;

// Rows (or columns) of a tile: a multiple of 16, which suits BLAS's kernels, near 256, where BLAS reaches full speed.
int64_t tile_of(int64_t length) { return blocks(even_tiles(length, 256), 16) * 16; }

template <class T>
void multiply(const sigma_gemm& call) {
  const sigma_matrix &a = call.a, &b = call.b, &c = call.c;
  const bool transpose_a = call.transpose_a != 0, transpose_b = call.transpose_b != 0,
             accumulate = call.accumulate != 0;
  const T* const bias = static_cast<const T*>(call.bias);
  const int64_t m = c.rows;
  const int64_t n = c.columns;
  const int64_t k = transpose_a ? a.rows : a.columns;
  for (const int64_t size : {m, n, k, a.stride, b.stride, c.stride}) blas_int(size);
  // Nothing fails after this, so C is never partially written.
  reserve_blas_buffer();

  const auto tile = [&](int64_t row, int64_t rows, int64_t column, int64_t columns) {
    T* const out = static_cast<T*>(c.data) + row * c.stride + column;
    if (bias != nullptr) {
      for (int64_t i = 0; i < rows; ++i) {
        T* const line = out + i * c.stride;
        for (int64_t j = 0; j < columns; ++j) line[j] = bias[column + j] + (accumulate ? line[j] : T{0});
      }
    }
    const T* const left = static_cast<const T*>(a.data) + (transpose_a ? row : row * a.stride);
    const T* const right = static_cast<const T*>(b.data) + (transpose_b ? column * b.stride : column);
    blas_gemm(transpose_a ? CblasTrans : CblasNoTrans, transpose_b ? CblasTrans : CblasNoTrans, static_cast<int>(rows),
              static_cast<int>(columns), static_cast<int>(k), left, /* lda = */ static_cast<int>(a.stride), right,
              /* ldb = */ static_cast<int>(b.stride), /* beta = */ accumulate || bias != nullptr ? T{1} : T{0}, out,
              /* ldc = */ static_cast<int>(c.stride));
  };

  if (m * n * k < kParallelFrom) return tile(0, m, 0, n);
  const bool by_rows = m >= n;
  const int64_t length = by_rows ? m : n;
  const int64_t step = tile_of(length);
  parallel_for(blocks(length, step), [&](int64_t index) {
    const int64_t begin = index * step;
    const int64_t size = std::min(step, length - begin);
    if (by_rows) {
      tile(begin, size, 0, n);
    } else {
      tile(0, m, begin, size);
    }
  });
}

}  // namespace

void gemm(const sigma_gemm& call) {
  const std::array dtypes = {call.a.dtype, call.b.dtype, call.c.dtype};
  const auto lacks_scales = [](const sigma_matrix& m) { return m.dtype == SIGMA_INT8 && m.scales == nullptr; };
  const bool known = multiplies(call.real, dtypes.data(), dtypes.size());
  if (!known || lacks_scales(call.a) || lacks_scales(call.b))
    refuse_types(call.real, {dtypes[0], dtypes[1], dtypes[2]});
  if (!computes(call.real, dtypes.data(), dtypes.size())) return multiply_packed(call);
  for_types(call.real, {call.c.dtype}, [&]<class S>() {
    if constexpr (std::is_same_v<S, Real<S>>) {
      multiply<S>(call);
    } else {
      multiply_packed(call);
    }
  });
}

}  // namespace sigma::cpu
