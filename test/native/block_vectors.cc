// Matrices in blocks of columns, and the basis that a Krylov space grows in.
#include <array>
#include <limits>

#include "cpu/svd/basis.h"
#include "harness.h"

namespace check {
namespace {

using sigma::cpu::Basis;
using sigma::cpu::Blocks;
using sigma::cpu::BlockVectors;
using sigma::cpu::Columns;
using sigma::cpu::kBlockWidth;
using sigma::cpu::padded;

template <class T>
Columns<T> by_columns(std::vector<T>& a, int rows, int columns) {
  return {a.data(), rows, columns, rows};
}

// The rows of one block, without padding.
template <class T>
std::vector<T> leading_rows(const T* block, int rows) {
  return {block, block + static_cast<size_t>(rows) * kBlockWidth};
}

// A block with rows of zeros as padding.
template <class T>
std::vector<T> random_block(int length, unsigned seed) {
  std::vector<T> x = random_numbers<T>(int64_t{length} * kBlockWidth, seed);
  x.resize(static_cast<size_t>(padded(length)) * kBlockWidth);
  return x;
}

template <class T>
bool padding_is_zero(const T* block, int length) {
  return std::all_of(block + static_cast<size_t>(length) * kBlockWidth,
                     block + static_cast<size_t>(padded(length)) * kBlockWidth, [](T x) { return x == 0; });
}

template <class T>
void products(int rows, int columns) {
  const auto given = random_numbers<T>(int64_t{rows} * columns, 1);
  std::vector<T> a = given, again(a.size(), std::numeric_limits<T>::quiet_NaN());
  const BlockVectors<T> memory(rows, columns);
  const Blocks<T> blocks = memory.view();
  std::fill_n(blocks.data, static_cast<size_t>(blocks.rows) * kBlockWidth * static_cast<size_t>(blocks.count),
              std::numeric_limits<T>::quiet_NaN());
  sigma::cpu::to_blocks(by_columns(a, rows, columns), blocks);
  sigma::cpu::from_blocks(blocks, by_columns(again, rows, columns));
  expect(again == given, "a matrix in blocks and back");

  const std::vector<T> x = random_block<T>(rows, 2), z = random_block<T>(columns, 3);
  std::vector<T> inner(static_cast<size_t>(padded(columns)) * kBlockWidth, std::numeric_limits<T>::quiet_NaN());
  sigma::cpu::multiply_transposed(blocks, x.data(), inner.data());
  // By columns a (rows, columns) is by rows its transpose.
  expect_close(leading_rows(inner.data(), columns), product(given, false, x, false, columns, kBlockWidth, rows),
               "aᵀ x by blocks", std::sqrt(rows));
  expect(padding_is_zero(inner.data(), columns), "padding of aᵀ x is zero");

  for (const bool accumulate : {false, true}) {
    std::vector<T> y = random_block<T>(rows, 4);
    std::vector<double> want = product(given, true, z, false, rows, kBlockWidth, columns);
    for (size_t i = 0; i < want.size(); ++i) want[i] = (accumulate ? static_cast<double>(y[i]) : 0) - 2 * want[i];
    if (!accumulate) std::fill(y.begin(), y.end(), std::numeric_limits<T>::quiet_NaN());
    sigma::cpu::multiply(T{-2}, blocks, z.data(), accumulate, y.data());
    expect_close(leading_rows(y.data(), rows), want, "a x by blocks", std::sqrt(columns));
    expect(padding_is_zero(y.data(), rows), "padding of a x is zero");
  }
}

template <class T>
void symmetric(int size) {
  std::vector<T> g = random_numbers<T>(int64_t{size} * size, 5), whole = g;
  for (int j = 0; j < size; ++j) {
    for (int i = 0; i < j; ++i) {
      g[static_cast<size_t>(j) * size + i] = std::numeric_limits<T>::quiet_NaN();
      whole[static_cast<size_t>(j) * size + i] = whole[static_cast<size_t>(i) * size + j];
    }
  }
  const std::vector<T> x = random_block<T>(size, 6);
  const auto multiplied = [&] {
    const sigma::cpu::SymmetricBlocks<T> blocks(by_columns(g, size, size));
    std::vector<T> y(x.size(), std::numeric_limits<T>::quiet_NaN());
    blocks.multiply(x.data(), y.data());
    return y;
  };
  const auto one = with_threads(1, multiplied);
  expect(one == with_threads(3, multiplied), "a symmetric product has the same bits for any number of threads");
  expect_close(leading_rows(one.data(), size), product(whole, false, x, false, size, kBlockWidth, size),
               "a product with a symmetric matrix of which the lower triangle is known", std::sqrt(size));
  expect(padding_is_zero(one.data(), size), "padding of a symmetric product is zero");
}

// A basis of `count` blocks of vectors of this length. `fill` writes the next block (length, kBlockWidth) by rows.
template <class T, class Fill>
void orthonormal(int length, int count, int near, const Fill& fill, const char* what) {
  Basis<T> basis(length, count);
  const auto block_size = static_cast<size_t>(padded(length)) * kBlockWidth;
  std::vector<T> q(static_cast<size_t>(length) * static_cast<size_t>(count) * kBlockWidth);
  double off = 0;
  for (int b = 0; b < count; ++b) {
    std::fill_n(basis.next(), block_size, T{0});
    fill(b, basis);
    const std::vector<T> given(basis.next(), basis.next() + block_size);
    const int dimensions = (b + 1) * kBlockWidth;
    std::vector<T> coefficients(static_cast<size_t>(dimensions) * kBlockWidth, std::numeric_limits<T>::quiet_NaN());
    basis.add(near, coefficients.data());
    expect(padding_is_zero(basis.last(), length), "padding of the basis is zero");
    sigma::cpu::from_blocks(basis.all(), Columns<T>{q.data(), length, dimensions, length});
    // W = Q C + W' R, in the rows of `coefficients`.
    const auto again = product(q, true, coefficients, false, length, kBlockWidth, dimensions);
    for (int j = 0; j < kBlockWidth; ++j) {
      double size = 0, difference = 0;
      for (int i = 0; i < length; ++i) {
        const auto at = static_cast<size_t>(i * kBlockWidth + j);
        size = std::fmax(size, std::abs(static_cast<double>(given[at])));
        keep_worse(difference, again[at] - static_cast<double>(given[at]));
      }
      keep_worse(off, difference / size);
    }
  }
  for (const double x : from_identity(q, int64_t{count} * kBlockWidth, length, true)) keep_worse(off, x);
  expect(off <= 100 * static_cast<double>(std::numeric_limits<T>::epsilon()), what);
}

template <class T>
void all() {
  for (const auto& [rows, columns] :
       std::vector<std::array<int, 2>>{{1, 1}, {16, 16}, {17, 15}, {300, 40}, {1000, 100}, {129, 260}}) {
    products<T>(rows, columns);
  }
  for (const int size : {1, 15, 16, 17, 255, 256, 300, 700}) symmetric<T>(size);
  const auto random = [](int length, unsigned seed, T* to) {
    const auto numbers = random_numbers<T>(int64_t{length} * kBlockWidth, seed);
    std::copy(numbers.begin(), numbers.end(), to);
  };
  for (const int length : {80, 100, 1000}) {
    orthonormal<T>(
        length, 5, 5, [&](int b, Basis<T>& basis) { random(length, static_cast<unsigned>(b), basis.next()); },
        "a basis of random blocks");
    orthonormal<T>(
        length, 4, 4, [&](int, Basis<T>& basis) { random(length, 7, basis.next()); },
        "the same block again: nothing is left of it");
    orthonormal<T>(
        length, 4, 4,
        [&](int b, Basis<T>& basis) {
          random(length, 8, basis.next());
          // Equal vectors but for one, which lengthens by 1e6.
          for (int i = 0; i < length; ++i) {
            T* const row = basis.next() + i * kBlockWidth;
            std::fill_n(row + 1, kBlockWidth - 2, row[0]);
            row[kBlockWidth - 1] *= static_cast<T>(b == 2 ? 1e6 : 1);
          }
        },
        "blocks of low rank, with vectors of very different length");
    // Each block is orthogonal to all but the last two before it.
    std::vector<T> g = random_numbers<T>(int64_t{length} * length, 9);
    const sigma::cpu::SymmetricBlocks<T> blocks(by_columns(g, length, length));
    orthonormal<T>(
        length, 5, 2,
        [&](int b, Basis<T>& basis) {
          if (b == 0) return random(length, 10, basis.next());
          blocks.multiply(basis.last(), basis.next());
        },
        "a Krylov space");
  }
}

}  // namespace

void block_vectors() {
  all<float>();
  all<double>();
}

}  // namespace check
