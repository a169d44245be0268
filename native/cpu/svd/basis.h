// Orthonormal bases that grow by blocks of columns, and products of tall matrices on the pool. All give the same bits
// for any number of threads.
#pragma once

#include "cpu/runtime/columns.h"
#include "cpu/svd/bidiagonal.h"

namespace sigma::cpu {

// y = alpha a x + beta y, by tiles of the rows of y.
template <class T>
void multiply(T alpha, const Columns<T>& a, const Columns<T>& x, T beta, const Columns<T>& y);

// y = aᵀ x, by tiles of the rows of y.
template <class T>
void multiply_transposed(const Columns<T>& a, const Columns<T>& x, const Columns<T>& y);

// w = Q R: w (length, k) becomes Q, r (k, k) becomes R. Q has orthonormal columns also if w has a lower rank.
template <class T>
void orthonormalise(const Columns<T>& w, const Columns<T>& r);

template <class T>
class Basis {
 public:
  Basis(int rows, int most) : memory_(rows, most) {}

  int size() const { return size_; }
  Columns<T> all() const { return block(0, size_); }
  Columns<T> last(int width) const { return block(size_ - width, width); }
  // Memory of the next block, of which `add` makes columns of the basis.
  Columns<T> next(int width) const { return block(size_, width); }

  // Orthonormalises the next block W against the basis and within itself: W = Q C + W' R, with C in the leading rows of
  // `coefficients` and R (width, width) below them. W is known to be orthogonal to all but the last `near` columns, up
  // to rounding.
  void add(int width, int near, const Columns<T>& coefficients);

 private:
  Columns<T> block(int begin, int width) const {
    const Columns<T> whole = memory_.view();
    return {whole.column(begin), whole.rows, width, whole.stride};
  }
  // c = Qᵀ w; w -= Q c, with the columns of the basis from `first` on.
  void project(int first, const Columns<T>& w, const Columns<T>& c) const;

  PaddedColumns<T> memory_;
  int size_ = 0;
};

}  // namespace sigma::cpu
