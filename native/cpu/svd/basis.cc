#include "cpu/svd/basis.h"

#include <algorithm>
#include <cmath>

#include "cpu/svd/bidiagonal.h"
#include "cpu/svd/tall.h"

namespace sigma::cpu {
namespace {

// A small matrix by columns.
template <class T>
struct Small {
  T numbers[kSquare];
  Columns<T> columns() { return {numbers, kBlockWidth, kBlockWidth, kBlockWidth}; }
  void write(T* rows) {
    for (int i = 0; i < kBlockWidth; ++i) {
      for (int j = 0; j < kBlockWidth; ++j) rows[i * kBlockWidth + j] = *columns().at(i, j);
    }
  }
};

template <class T>
bool is_small(const T* c, size_t count) {
  return std::all_of(c, c + count, [](T x) { return std::abs(x) < static_cast<T>(0.01); });
}

}  // namespace

template <class T>
void Basis<T>::project(int first, T* w, T* c) const {
  if (first == size_) return;
  multiply_transposed(part(first), w, c);
  multiply(T{-1}, part(first), c, true, w);
}

template <class T>
void Basis<T>::orthonormalise_within(T* w, T* r) const {
  const Blocks<T> block{w, memory_.view().rows, 1};
  Small<T> triangle, inverse;
  multiply_transposed(block, w, triangle.numbers);
  if (invert_cholesky(triangle.columns(), inverse.columns())) {
    T rows[kSquare];
    inverse.write(rows);
    multiply(T{1}, block, rows, false, w);
  } else {
    const PaddedColumns<T> copy(length_, kBlockWidth);
    from_blocks(block, copy.view());
    orthonormalise(copy.view(), triangle.columns());
    to_blocks(copy.view(), block);
  }
  triangle.write(r);
}

template <class T>
void Basis<T>::add(int near, T* coefficients) {
  T* const w = next();
  const auto count = static_cast<size_t>(size_);
  T* const r = coefficients + count * kSquare;
  const auto memory = numbers<T>((count + 2) * kSquare);
  T *const c2 = memory.get(), *const r1 = c2 + count * kSquare, *const r2 = r1 + kSquare;
  const int first = std::max(0, size_ - near);
  std::fill_n(coefficients, static_cast<size_t>(first) * kSquare, T{0});
  project(first, w, coefficients + static_cast<size_t>(first) * kSquare);
  orthonormalise_within(w, r1);
  // Twice is enough (Giraud, Langou and Rozložník 2005), unless hardly anything is left of W.
  for (int pass = 0; pass < 3; ++pass) {
    project(0, w, c2);
    orthonormalise_within(w, r2);
    const auto& multiply_small = kernels<T>().block_multiply;
    multiply_small(size_ * kBlockWidth, c2, r1, T{1}, /* accumulate = */ true, coefficients);
    multiply_small(kBlockWidth, r2, r1, T{1}, /* accumulate = */ false, r);
    if (is_small(c2, count * kSquare)) break;
    std::copy_n(r, kSquare, r1);
  }
  ++size_;
}

template class Basis<float>;
template class Basis<double>;

}  // namespace sigma::cpu
