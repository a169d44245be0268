// The SVD of a bidiagonal matrix by divide and conquer on the pool (Gu and Eisenstat 1995, "A divide-and-conquer
// algorithm for the bidiagonal SVD").
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// B = U diag(d) Vᵀ for the upper bidiagonal B with diagonal d (n) and superdiagonal e (n - 1). d becomes the singular
// values, in descending order; e is overwritten. u (n, n) ← U and vt (n, n) ← Vᵀ. Returns false if it does not
// converge. The same bits for any number of threads.
template <class T>
bool divide_and_conquer(T* d, T* e, const Columns<T>& u, const Columns<T>& vt);

}  // namespace sigma::cpu
