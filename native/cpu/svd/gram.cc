#include "cpu/svd/gram.h"

#include <algorithm>
#include <vector>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/lapack.h"

namespace sigma::cpu {
namespace {

// Rows and columns of a tile. Products of larger ones are faster, where there are enough of them for many threads.
constexpr int kTile = 256, kLargeTile = 512, kLargeFrom = 2048;
// Longer sums are split, which limits rounding.
constexpr int kPart = 512;

// A tile of the lower triangle; one on the diagonal is square.
struct Tile {
  int top, left, height, width;
  bool on_diagonal() const { return top == left; }
};

// The tiles of the rows and columns from `first` on, (height, width) or smaller, but (height, height) on the diagonal.
std::vector<Tile> lower_tiles(int first, int size, int height, int width) {
  std::vector<Tile> tiles;
  for (int top = first; top < size; top += height) {
    const int rows = std::min(height, size - top);
    tiles.push_back({top, top, rows, rows});
    for (int left = first; left < top; left += width) tiles.push_back({top, left, rows, std::min(width, top - left)});
  }
  return tiles;
}

template <class Body>
void for_tiles(const std::vector<Tile>& tiles, const Body& body) {
  parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t task) { body(tiles[static_cast<size_t>(task)]); });
}

// The tile of g = alpha e eᵀ + beta g for e (·, count) by columns, or alpha eᵀ e + beta g for e (count, ·). Of a tile
// on the diagonal, the lower triangle.
template <class T>
void multiply_tile(const Tile& tile, bool transposed, int count, T alpha, const T* e, int stride, T beta,
                   const Columns<T>& g) {
  const auto from = [&](int line) {
    return e + static_cast<size_t>(line) * static_cast<size_t>(transposed ? stride : 1);
  };
  T* const to = g.at(tile.top, tile.left);
  if (tile.on_diagonal()) {
    syrk_by_columns(transposed ? CblasTrans : CblasNoTrans, tile.height, count, alpha, from(tile.top),
                    /* lda = */ stride, beta, to, /* ldc = */ g.stride);
  } else {
    gemm_by_columns(transposed ? CblasTrans : CblasNoTrans, transposed ? CblasNoTrans : CblasTrans, tile.height,
                    tile.width, count, alpha, from(tile.top), /* lda = */ stride, from(tile.left),
                    /* ldb = */ stride, beta, to, /* ldc = */ g.stride);
  }
}

}  // namespace

template <class T>
void gram(const Columns<T>& e, const Columns<T>& g) {
  const bool by_rows = e.rows <= e.columns;  // E Eᵀ
  const int length = by_rows ? e.columns : e.rows;
  for_tiles(lower_tiles(0, g.rows, g.rows < kLargeFrom ? kTile : kLargeTile, kTile), [&](const Tile& tile) {
    for (int begin = 0; begin < length; begin += kPart) {
      multiply_tile(tile, /* transposed = */ !by_rows, std::min(kPart, length - begin), /* alpha = */ T{1},
                    by_rows ? e.at(0, begin) : e.at(begin, 0), e.stride, /* beta = */ begin == 0 ? T{0} : T{1}, g);
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
  for_tiles(lower_tiles(0, g.rows, kTile, kTile), [&](const Tile& tile) {
    multiply_tile(tile, /* transposed = */ false, v.columns, /* alpha = */ T{-1}, scaled.data, scaled.stride,
                  /* beta = */ T{1}, g);
  });
}

template <class T>
bool is_below(const Columns<T>& g, T bound) {
  const int size = g.rows;
  for_tiles(lower_tiles(0, size, kTile, kTile), [&](const Tile& tile) {
    for (int j = tile.left; j < tile.left + tile.width; ++j) {
      for (int i = tile.on_diagonal() ? j : tile.top; i < tile.top + tile.height; ++i) *g.at(i, j) = -*g.at(i, j);
      if (tile.on_diagonal()) *g.at(j, j) += bound * bound;
    }
  });
  // The tile on the diagonal at `begin`.
  const auto factorises = [&](int begin) {
    const int rows = std::min(kTile, size - begin);
    return cholesky(/* uplo = */ "L", Columns<T>{g.at(begin, begin), rows, rows, g.stride});
  };
  bool definite = factorises(0);
  for (int begin = 0, next = kTile; definite && next < size; begin = next, next += kTile) {
    parallel_for(blocks(size - next, kTile), [&](int64_t task) {
      const int top = next + static_cast<int>(task) * kTile;
      solve_by_transposed_lower(std::min(kTile, size - top), kTile, g.at(begin, begin), /* lda = */ g.stride,
                                g.at(top, begin), /* ldb = */ g.stride);
    });
    // One task goes on to factorise the next tile on the diagonal, while the others update theirs.
    for_tiles(lower_tiles(next, size, kTile, kTile), [&](const Tile& tile) {
      multiply_tile(tile, /* transposed = */ false, kTile, /* alpha = */ T{-1}, g.column(begin), g.stride,
                    /* beta = */ T{1}, g);
      if (tile.top == next) definite = factorises(next);
    });
  }
  return definite;
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
  template void subtract_squares<T>(const Columns<T>&, const T*, const Columns<T>&); \
  template bool is_below<T>(const Columns<T>&, T);                                   \
  template bool norm_is_below<T>(const Columns<T>&, T);
SIGMA_INSTANTIATE(float)
SIGMA_INSTANTIATE(double)
#undef SIGMA_INSTANTIATE

}  // namespace sigma::cpu
