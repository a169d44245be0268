// One thin SVD to be done: A (m, n) = U diag(s) Vt, r = min(m, n), by rows.
//
// LAPACK counts in columns. Our row-major A is its Aᵀ, whose SVD is V diag(s) Uᵀ: LAPACK's "U" (n, r by columns) is
// our Vt (r, n by rows), and its "VT" is our U. So nothing is ever transposed.
#pragma once

#include <algorithm>
#include <cstring>

#include "blas.h"
#include "columns.h"
#include "contract/backend.h"
#include "contract/failure.h"

namespace sigma::cpu {

template <class T>
struct SvdProblem {
  explicit SvdProblem(const sigma_svd_problem& given)
      : m(blas_int(given.rows)), n(blas_int(given.columns)), r(std::min(m, n)), a(static_cast<const T*>(given.a)),
        u(static_cast<T*>(given.u)), s(static_cast<T*>(given.s)), vt(static_cast<T*>(given.vt)) {}
  SvdProblem(int rows, int columns, const T* a_, T* u_, T* s_, T* vt_)
      : m(rows), n(columns), r(std::min(m, n)), a(a_), u(u_), s(s_), vt(vt_) {}
  size_t size() const { return static_cast<size_t>(m) * static_cast<size_t>(n); }

  int m, n, r;
  const T* a;  // (m, n)
  T* u;        // (m, r)
  T* s;        // (r)
  T* vt;       // (r, n)
};

// LAPACK overwrites its input.
template <class T>
Numbers<T> copy_of(const SvdProblem<T>& p) {
  auto copy = numbers<T>(p.size());
  std::memcpy(copy.get(), p.a, p.size() * sizeof(T));
  return copy;
}

}  // namespace sigma::cpu
