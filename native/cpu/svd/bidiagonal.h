// A = Q B Pᵀ with B upper bidiagonal: the first step of an SVD by divide and conquer.
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// The diagonal d (n) and superdiagonal e (n - 1) of B, and τ (n) of the reflectors 1 - τ v vᵀ of Q and P.
template <class T>
struct Bidiagonal {
  T* d;
  T* e;
  T* tauq;
  T* taup;
};

// Memory of a matrix for `bidiagonalise`. Each column begins on a cache line and is padded with zeros.
template <class T>
class PaddedColumns {
 public:
  PaddedColumns(int rows, int columns);
  Columns<T> view() const { return view_; }

 private:
  Numbers<T> memory_;
  Columns<T> view_;
};

// Overwrites a (m, n), m ≥ n, as LAPACK's gebrd does: d and e, Q's v below the diagonal, P's v right of e. The same
// bits for any number of threads.
template <class T>
void bidiagonalise(const PaddedColumns<T>& a, const Bidiagonal<T>& b);

}  // namespace sigma::cpu
