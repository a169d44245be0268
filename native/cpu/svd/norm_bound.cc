#include "cpu/svd/norm_bound.h"

#include <cmath>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/lapack.h"

namespace sigma::cpu {
namespace {

// Rows and columns of a tile.
constexpr int kTile = 256;
// Longer sums are split, which limits rounding.
constexpr int kPart = 512;

// The tiles (i, j), i ≥ j, of a lower triangle from tile `first` on.
template <class Body>
void for_lower(int64_t first, int64_t count, const Body& body) {
  const int64_t side = count - first;
  parallel_for(side * (side + 1) / 2, [&](int64_t task) {
    int64_t i = 0;
    for (; task > i; ++i) task -= i + 1;
    body(static_cast<int>(first + i), static_cast<int>(first + task));
  });
}

}  // namespace

template <class T>
bool norm_is_below(const Columns<T>& e, T bound) {
  const bool by_rows = e.rows <= e.columns;  // E Eᵀ
  const int r = by_rows ? e.rows : e.columns, length = by_rows ? e.columns : e.rows;
  const auto memory = numbers<T>(static_cast<size_t>(r) * static_cast<size_t>(r));
  const Columns<T> c{memory.get(), r, r, r};
  const auto size = [&](int tile) { return std::min(kTile, r - tile * kTile); };
  const auto at = [&](int i, int j) { return c.at(i * kTile, j * kTile); };
  const int64_t tiles = blocks(r, kTile);
  for_lower(0, tiles, [&](int i, int j) {
    for (int begin = 0; begin < length; begin += kPart) {
      const auto part = [&](int tile) { return by_rows ? e.at(tile * kTile, begin) : e.at(begin, tile * kTile); };
      gemm_by_columns(by_rows ? CblasNoTrans : CblasTrans, by_rows ? CblasTrans : CblasNoTrans, size(i), size(j),
                      std::min(kPart, length - begin), /* alpha = */ T{-1}, part(i), /* lda = */ e.stride, part(j),
                      /* ldb = */ e.stride, /* beta = */ begin == 0 ? T{0} : T{1}, at(i, j), /* ldc = */ r);
    }
    if (i == j) {
      for (int t = 0; t < size(i); ++t) *c.at(i * kTile + t, i * kTile + t) += bound * bound;
    }
  });
  for (int j = 0; j < tiles; ++j) {
    if (Lapack<T>::potrf("L", size(j), at(j, j), /* lda = */ r) != 0) return false;
    // OpenBLAS does not see a NaN.
    for (int t = 0; t < size(j); ++t) {
      if (!std::isfinite(*c.at(j * kTile + t, j * kTile + t))) return false;
    }
    parallel_for(tiles - j - 1, [&](int64_t task) {
      const int i = j + 1 + static_cast<int>(task);
      solve_by_transposed_lower(size(i), size(j), at(j, j), /* lda = */ r, at(i, j), /* ldb = */ r);
    });
    for_lower(j + 1, tiles, [&](int i, int l) {
      gemm_by_columns(CblasNoTrans, CblasTrans, size(i), size(l), size(j), /* alpha = */ T{-1}, at(i, j),
                      /* lda = */ r, at(l, j), /* ldb = */ r, /* beta = */ T{1}, at(i, l), /* ldc = */ r);
    });
  }
  return true;
}

template bool norm_is_below<float>(const Columns<float>&, float);
template bool norm_is_below<double>(const Columns<double>&, double);

}  // namespace sigma::cpu
