// Eigenvectors of a small positive semi-definite matrix.
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// The eigenvalues of H (d, d), falling, and the eigenvectors of the largest ones: vectors (d, any number up to d). Only
// the lower triangle of h is read; it is overwritten. Negative eigenvalues are rounding and may come out as about zero.
// Returns false if it does not converge. The same bits for any number of threads.
template <class T>
bool semidefinite_eigenvectors(const Columns<T>& h, T* values, const Columns<T>& vectors);

}  // namespace sigma::cpu
