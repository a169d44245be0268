// Products of tall matrices and orthonormalisation of their columns, on the pool. All give the same bits for any number
// of threads.
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// y = alpha a x + beta y, by tiles of the rows of y.
template <class T>
void multiply(T alpha, const Columns<T>& a, const Columns<T>& x, T beta, const Columns<T>& y);

// y = aᵀ x, by tiles of the rows of y.
template <class T>
void multiply_transposed(const Columns<T>& a, const Columns<T>& x, const Columns<T>& y);

// r (k, k) holds WᵀW and becomes its Cholesky factor R, of which `inverse` becomes the inverse. Returns false if W is
// not well-conditioned. W R⁻¹ is orthonormal up to the square of W's condition, which a second pass restores.
template <class T>
bool invert_cholesky(const Columns<T>& r, const Columns<T>& inverse);

// w = Q R: w (length, k) becomes Q, r (k, k) becomes R. Q has orthonormal columns also if w has a lower rank.
template <class T>
void orthonormalise(const Columns<T>& w, const Columns<T>& r);

}  // namespace sigma::cpu
