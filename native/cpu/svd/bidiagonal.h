// A = Q B Pᵀ with B upper bidiagonal: what comes before divide and conquer in a singular value decomposition.
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// d (n) and e (n - 1) of B; Q and P as products of reflectors 1 - τ v vᵀ, whose τ stand here (n each).
template <class T>
struct Bidiagonal {
  T* d;
  T* e;
  T* tauq;
  T* taup;
};

// Room for a matrix of so many rows that `bidiagonalise` works on: each column begins on a cache line, and what is
// beyond the last row is zero.
template <class T>
class PaddedColumns {
 public:
  PaddedColumns(int rows, int columns);
  Columns<T> view() const { return view_; }

 private:
  Numbers<T> memory_;
  Columns<T> view_;
};

// a (m, n), m ≥ n, is overwritten as LAPACK's gebrd does it: with d and e, the v of Q below the diagonal, those of P to
// the right of e. The same bits for any number of threads.
template <class T>
void bidiagonalise(const PaddedColumns<T>& a, const Bidiagonal<T>& b);

}  // namespace sigma::cpu
