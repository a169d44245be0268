// bidiagonalise: A = Q B Pᵀ, and Q is orthonormal.
#include "cpu/svd/bidiagonal.h"

#include <array>
#include <cstring>
#include <limits>

#include "cpu/svd/reflectors.h"
#include "harness.h"

namespace check {
namespace {

using sigma::cpu::Columns;

template <class T>
struct Reduced {
  Reduced(const std::vector<T>& numbers, int rows, int columns)
      : a(rows, columns), d(static_cast<size_t>(columns)), e(d.size()), tauq(d.size()), taup(d.size()) {
    for (int j = 0; j < columns; ++j) std::copy_n(numbers.data() + int64_t{j} * rows, rows, a.view().column(j));
    sigma::cpu::bidiagonalise(a, {d.data(), e.data(), tauq.data(), taup.data()});
  }

  // Q C Pᵀ, or Q C without `right`; C is bidiagonal with these diagonals.
  std::vector<T> between(const std::vector<T>& diagonal, const std::vector<T>& above, bool right) const {
    const Columns<T> v = a.view();
    std::vector<T> c(static_cast<size_t>(v.rows) * diagonal.size());
    for (size_t j = 0; j < diagonal.size(); ++j) {
      c[j * static_cast<size_t>(v.rows) + j] = diagonal[j];
      if (j > 0) c[j * static_cast<size_t>(v.rows) + j - 1] = above[j - 1];
    }
    const Columns<T> whole{c.data(), v.rows, v.columns, v.rows};
    sigma::cpu::apply_columns(v, tauq.data(), whole);
    if (right) sigma::cpu::apply_rows(v, 1, taup.data(), whole);
    return c;
  }

  // Error bound of sums over the rows, the longer side.
  double rounding() const {
    return 8 * std::sqrt(static_cast<double>(a.view().rows)) * static_cast<double>(std::numeric_limits<T>::epsilon());
  }

  sigma::cpu::PaddedColumns<T> a;
  std::vector<T> d, e, tauq, taup;
};

template <class T>
void reduces(const Reduced<T>& got, const std::vector<T>& numbers) {
  // Reflectors mix a whole column, so its errors are relative to its norm, not to its entries (Higham 2002,
  // theorem 19.4).
  const size_t rows = numbers.size() / got.d.size();
  double largest = 0, off = 0;
  const std::vector<T> again = got.between(got.d, got.e, true);
  for (size_t j = 0; j < got.d.size(); ++j) {
    double norm = 0;
    for (size_t i = j * rows; i < (j + 1) * rows; ++i) {
      norm = std::hypot(norm, static_cast<double>(numbers[i]));
      keep_worse(off, static_cast<double>(again[i]) - static_cast<double>(numbers[i]));
    }
    keep_worse(largest, norm);
  }
  expect(off <= got.rounding() / 4 * largest, "A = Q B Pᵀ");
}

template <class T>
void is_orthonormal(const Reduced<T>& got) {
  const Columns<T> v = got.a.view();
  const std::vector<T> q = got.between(std::vector<T>(got.d.size(), 1), std::vector<T>(got.d.size()), false);
  double off = 0;
  for (const double each : from_identity(q, v.columns, v.rows, true)) keep_worse(off, each);
  expect(off <= got.rounding(), "QᵀQ = 1");
}

template <class T>
void reduces(const std::vector<T>& numbers, int rows, int columns) {
  const Reduced<T> got(numbers, rows, columns);
  reduces(got, numbers);
  is_orthonormal(got);
}

// The same bits for 1 and 3 threads.
template <class T>
void repeats(const std::vector<T>& numbers, int rows, int columns) {
  const auto reduce = [&] { return Reduced<T>(numbers, rows, columns); };
  const Reduced<T> one = with_threads(1, reduce), three = with_threads(3, reduce);
  const auto bytes = static_cast<size_t>(one.a.view().stride) * static_cast<size_t>(columns) * sizeof(T);
  expect(std::memcmp(one.a.view().data, three.a.view().data, bytes) == 0, "the same bits for any number of threads");
  reduces(one, numbers);
}

template <class T>
void shapes() {
  using Shape = std::array<int, 2>;
  for (const auto& [rows, columns] :
       {Shape{1, 1}, Shape{2, 1}, Shape{2, 2}, Shape{3, 2}, Shape{16, 16}, Shape{17, 16}, Shape{18, 17}, Shape{33, 33},
        Shape{64, 48}, Shape{101, 97}, Shape{160, 7}, Shape{512, 20}, Shape{70, 65}}) {
    const auto random = random_numbers<T>(int64_t{rows} * columns, 7);
    reduces(random, rows, columns);
    auto graded = random;  // rows and columns decay by powers of 2
    for (size_t i = 0; i < graded.size(); ++i) {
      const auto far = static_cast<int>(i % static_cast<size_t>(rows) + i / static_cast<size_t>(rows));
      graded[i] = static_cast<T>(std::ldexp(static_cast<double>(graded[i]), -2 * far));
    }
    reduces(graded, rows, columns);
    auto low = random;  // rank 1, with a zero row and a zero column
    for (size_t i = 0; i < low.size(); ++i) {
      const size_t row = i % static_cast<size_t>(rows), column = i / static_cast<size_t>(rows);
      low[i] = row == 1 || column == 1 ? T{0} : static_cast<T>(row + 1) * static_cast<T>(column + 1);
    }
    reduces(low, rows, columns);
    reduces(std::vector<T>(random.size()), rows, columns);
    auto tiny = random;  // products underflow
    for (T& x : tiny) x *= static_cast<T>(sizeof(T) == 4 ? 1e-25 : 1e-180);
    reduces(tiny, rows, columns);
  }
  // Large enough for sweeps in two parts, and in four.
  repeats(random_numbers<T>(1100 * 1001, 3), 1100, 1001);
  if (sizeof(T) == 4) repeats(random_numbers<T>(2100 * 1010, 3), 2100, 1010);
}

}  // namespace

void bidiagonal() {
  shapes<float>();
  shapes<double>();
}

}  // namespace check
