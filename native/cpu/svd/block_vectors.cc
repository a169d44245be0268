#include "cpu/svd/block_vectors.h"

#include <algorithm>

#include "cpu/runtime/pool.h"

namespace sigma::cpu {
namespace {

// Blocks per task.
constexpr int kGroup = 4;
// Rows whose products are added at a time: a part of x and one of the sums take 32 KB, and stay in the first-level
// cache.
template <class T>
constexpr int kPart = 1024 / static_cast<int>(sizeof(T));
// Tasks of a product with a symmetric matrix, each with sums of its own.
constexpr int kGroups = 16;
// Rows per task of a product of blocks with small matrices.
constexpr int kTile = 128;

// The square of c from (top, left) on, by rows; what is beyond c is zero.
template <class T>
void write_square(const Columns<T>& c, int top, int left, T* rows) {
  const int height = std::min(kBlockWidth, c.rows - top), width = std::min(kBlockWidth, c.columns - left);
  if (height < kBlockWidth || width < kBlockWidth) std::fill_n(rows, kSquare, T{0});
  if (height <= 0) return;
  transpose_block(Columns<T>{c.at(top, left), height, width, c.stride},
                  Columns<T>{rows, kBlockWidth, kBlockWidth, kBlockWidth});
}

// Copies the lower triangle of a square by rows to the upper one.
template <class T>
void mirror(T* rows) {
  for (int i = 0; i < kBlockWidth; ++i) {
    for (int j = i + 1; j < kBlockWidth; ++j) rows[i * kBlockWidth + j] = rows[j * kBlockWidth + i];
  }
}

}  // namespace

template <class T>
void to_blocks(const Columns<T>& c, const Blocks<T>& to) {
  parallel_for(to.count, [&](int64_t b) {
    const int left = static_cast<int>(b) * kBlockWidth;
    for (int top = 0; top < to.rows; top += kBlockWidth) write_square(c, top, left, to.block(b, top));
  });
}

template <class T>
SymmetricBlocks<T>::SymmetricBlocks(const Columns<T>& g)
    : size_(g.rows), memory_(numbers<T>(static_cast<size_t>(rows()) * static_cast<size_t>(rows() + kBlockWidth) / 2)) {
  parallel_for(count(), [&](int64_t b) {
    const int left = static_cast<int>(b) * kBlockWidth;
    for (int top = left; top < rows(); top += kBlockWidth) {
      write_square(g, top, left, at(b, top));
    }
    mirror(at(b, left));
  });
}

template <class T>
void from_blocks(const Blocks<T>& from, const Columns<T>& c) {
  parallel_for(block_count(c.columns), [&](int64_t b) {
    const int left = static_cast<int>(b) * kBlockWidth, width = std::min(kBlockWidth, c.columns - left);
    for (int top = 0; top < c.rows; top += kBlockWidth) {
      const int height = std::min(kBlockWidth, c.rows - top);
      transpose_block(Columns<T>{from.block(b, top), width, height, kBlockWidth},
                      Columns<T>{c.at(top, left), height, width, c.stride});
    }
  });
}

template <class T>
void multiply_transposed(const Blocks<T>& a, const T* x, T* y) {
  parallel_for(blocks(a.count, kGroup), [&](int64_t task) {
    const int64_t first = task * kGroup, end = std::min<int64_t>(first + kGroup, a.count);
    std::fill(y + first * kSquare, y + end * kSquare, T{0});
    for (int row = 0; row < a.rows; row += kPart<T>) {
      const int count = std::min(kPart<T>, a.rows - row);
      for (int64_t b = first; b < end; ++b) {
        kernels<T>().block_inner(count, a.block(b, row), x + static_cast<size_t>(row) * kBlockWidth, y + b * kSquare);
      }
    }
  });
}

// Each part of the lower triangle is read once, for both of its products.
template <class T>
void SymmetricBlocks<T>::multiply(const T* x, T* y) const {
  const auto length = static_cast<size_t>(rows()) * kBlockWidth;
  const int groups = std::min(kGroups, count());
  const auto sums = numbers<T>(length * static_cast<size_t>(groups));
  parallel_for(groups, [&](int64_t group) {
    T* const own = sums.get() + static_cast<size_t>(group) * length;
    std::fill_n(own, length, T{0});
    const auto number = [](int row) { return static_cast<size_t>(row) * kBlockWidth; };
    for (int part = 0; part < rows(); part += kPart<T>) {
      const int end = std::min(part + kPart<T>, rows());
      for (int64_t b = group; b < count(); b += groups) {
        const int diagonal = static_cast<int>(b) * kBlockWidth, below = diagonal + kBlockWidth;
        if (diagonal >= end) break;
        const int row = std::max(part, diagonal), under = std::max(part, below);
        kernels<T>().block_inner(end - row, at(b, row), x + number(row), own + number(diagonal));
        kernels<T>().block_multiply(end - under, at(b, under), x + number(diagonal), T{1}, /* accumulate = */ true,
                                    own + number(under));
      }
    }
  });
  constexpr size_t kSums = 4096;
  parallel_for(blocks(static_cast<int64_t>(length), kSums), [&](int64_t task) {
    const size_t begin = static_cast<size_t>(task) * kSums, count = std::min(kSums, length - begin);
    std::copy_n(sums.get() + begin, count, y + begin);
    for (int group = 1; group < groups; ++group) {
      const T* const own = sums.get() + static_cast<size_t>(group) * length + begin;
      for (size_t i = 0; i < count; ++i) y[begin + i] += own[i];
    }
  });
}

template <class T>
void multiply(T alpha, const Blocks<T>& a, const T* x, bool accumulate, T* y) {
  parallel_for(blocks(a.rows, kTile), [&](int64_t task) {
    const int row = static_cast<int>(task) * kTile, count = std::min(kTile, a.rows - row);
    T* const to = y + static_cast<size_t>(row) * kBlockWidth;
    for (int64_t b = 0; b < a.count; ++b) {
      kernels<T>().block_multiply(count, a.block(b, row), x + b * kSquare, alpha, accumulate || b > 0, to);
    }
  });
}

#define SIGMA_INSTANTIATE(T)                                            \
  template void to_blocks<T>(const Columns<T>&, const Blocks<T>&);      \
  template class SymmetricBlocks<T>;                                    \
  template void from_blocks<T>(const Blocks<T>&, const Columns<T>&);    \
  template void multiply_transposed<T>(const Blocks<T>&, const T*, T*); \
  template void multiply<T>(T, const Blocks<T>&, const T*, bool, T*);
SIGMA_INSTANTIATE(float)
SIGMA_INSTANTIATE(double)
#undef SIGMA_INSTANTIATE

}  // namespace sigma::cpu
