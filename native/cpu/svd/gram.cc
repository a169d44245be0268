#include "cpu/svd/gram.h"

#include <algorithm>
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

// A square matrix as tiles of its lower triangle.
template <class T>
class Tiles {
 public:
  explicit Tiles(const Columns<T>& c) : c_(c) {}
  int64_t count() const { return blocks(c_.rows, kTile); }
  int stride() const { return c_.stride; }
  int size(int tile) const { return std::min(kTile, c_.rows - tile * kTile); }
  T* at(int i, int j) const { return c_.at(i * kTile, j * kTile); }
  T* diagonal(int tile, int t) const { return c_.at(tile * kTile + t, tile * kTile + t); }
  // body(i, j) for the tiles i ≥ j of the lower triangle from tile `first` on.
  template <class Body>
  void for_lower(int64_t first, const Body& body) const {
    const int64_t side = count() - first;
    parallel_for(side * (side + 1) / 2, [&](int64_t task) {
      int64_t i = 0;
      for (; task > i; ++i) task -= i + 1;
      body(static_cast<int>(first + i), static_cast<int>(first + task));
    });
  }

 private:
  Columns<T> c_;
};

}  // namespace

template <class T>
void gram(const Columns<T>& e, const Columns<T>& g) {
  const bool by_rows = e.rows <= e.columns;  // E Eᵀ
  const int length = by_rows ? e.columns : e.rows;
  const Tiles<T> tiles(g);
  // Rows `top` to `bottom` of a tile, up to column `right`.
  const auto compute = [&](int i, int j, int top, int bottom, int right) {
    for (int begin = 0; begin < length; begin += kPart) {
      const auto part = [&](int first) { return by_rows ? e.at(first, begin) : e.at(begin, first); };
      gemm_by_columns(by_rows ? CblasNoTrans : CblasTrans, by_rows ? CblasTrans : CblasNoTrans, bottom - top, right,
                      std::min(kPart, length - begin), /* alpha = */ T{1}, part(i * kTile + top), /* lda = */ e.stride,
                      part(j * kTile), /* ldb = */ e.stride, /* beta = */ begin == 0 ? T{0} : T{1},
                      tiles.at(i, j) + top, /* ldc = */ g.stride);
    }
  };
  tiles.for_lower(0, [&](int i, int j) {
    const int size = tiles.size(i), half = i == j ? size / 2 : 0;
    // The upper quarter of a tile on the diagonal is not needed.
    if (half > 0) compute(i, j, 0, half, half);
    compute(i, j, half, size, tiles.size(j));
  });
}

template <class T>
void mirror(const Columns<T>& g) {
  parallel_for(blocks(g.rows, kTurned), [&](int64_t task) {
    const int top = static_cast<int>(task) * kTurned, height = std::min(kTurned, g.rows - top);
    for (int left = 0; left < top; left += kTurned) {
      transpose_block(Columns<T>{g.at(top, left), height, kTurned, g.stride},
                      Columns<T>{g.at(left, top), kTurned, height, g.stride});
    }
    for (int j = top; j < top + height; ++j) {
      for (int i = j + 1; i < top + height; ++i) *g.at(j, i) = *g.at(i, j);
    }
  });
}

template <class T>
void subtract_squares(const Columns<T>& v, const T* s, const Columns<T>& g) {
  const auto memory = numbers<T>(static_cast<size_t>(v.rows) * static_cast<size_t>(v.columns));
  const Columns<T> scaled{memory.get(), v.rows, v.columns, v.rows};
  for (int j = 0; j < v.columns; ++j) {
    for (int i = 0; i < v.rows; ++i) *scaled.at(i, j) = s[j] * *v.at(i, j);
  }
  const Tiles<T> tiles(g);
  tiles.for_lower(0, [&](int i, int j) {
    gemm_by_columns(CblasNoTrans, CblasTrans, tiles.size(i), tiles.size(j), v.columns, /* alpha = */ T{-1},
                    scaled.at(i * kTile, 0), /* lda = */ scaled.stride, scaled.at(j * kTile, 0),
                    /* ldb = */ scaled.stride, /* beta = */ T{1}, tiles.at(i, j), /* ldc = */ g.stride);
  });
}

template <class T>
bool is_below(const Columns<T>& g, T bound) {
  const Tiles<T> tiles(g);
  const int64_t count = tiles.count();
  tiles.for_lower(0, [&](int i, int j) {
    for (int column = 0; column < tiles.size(j); ++column) {
      T* const c = tiles.at(i, j) + static_cast<size_t>(column) * static_cast<size_t>(g.stride);
      for (int row = 0; row < tiles.size(i); ++row) c[row] = -c[row];
    }
    if (i == j) {
      for (int t = 0; t < tiles.size(i); ++t) *tiles.diagonal(i, t) += bound * bound;
    }
  });
  for (int j = 0; j < count; ++j) {
    if (Lapack<T>::potrf("L", tiles.size(j), tiles.at(j, j), /* lda = */ g.stride) != 0) return false;
    // OpenBLAS does not see a NaN.
    for (int t = 0; t < tiles.size(j); ++t) {
      if (!std::isfinite(*tiles.diagonal(j, t))) return false;
    }
    parallel_for(count - j - 1, [&](int64_t task) {
      const int i = j + 1 + static_cast<int>(task);
      solve_by_transposed_lower(tiles.size(i), tiles.size(j), tiles.at(j, j), /* lda = */ g.stride, tiles.at(i, j),
                                /* ldb = */ g.stride);
    });
    tiles.for_lower(j + 1, [&](int i, int l) {
      gemm_by_columns(CblasNoTrans, CblasTrans, tiles.size(i), tiles.size(l), tiles.size(j), /* alpha = */ T{-1},
                      tiles.at(i, j), /* lda = */ g.stride, tiles.at(l, j), /* ldb = */ g.stride, /* beta = */ T{1},
                      tiles.at(i, l), /* ldc = */ g.stride);
    });
  }
  return true;
}

template <class T>
bool norm_is_below(const Columns<T>& e, T bound) {
  const int r = std::min(e.rows, e.columns);
  const auto memory = numbers<T>(static_cast<size_t>(r) * static_cast<size_t>(r));
  const Columns<T> g{memory.get(), r, r, r};
  gram(e, g);
  return is_below(g, bound);
}

#define SIGMA_INSTANTIATE(T)                                                         \
  template void gram<T>(const Columns<T>&, const Columns<T>&);                       \
  template void mirror<T>(const Columns<T>&);                                        \
  template void subtract_squares<T>(const Columns<T>&, const T*, const Columns<T>&); \
  template bool is_below<T>(const Columns<T>&, T);                                   \
  template bool norm_is_below<T>(const Columns<T>&, T);
SIGMA_INSTANTIATE(float)
SIGMA_INSTANTIATE(double)
#undef SIGMA_INSTANTIATE

}  // namespace sigma::cpu
