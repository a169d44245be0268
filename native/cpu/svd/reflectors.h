// Products of Householder reflectors, as `bidiagonalise` and LAPACK's QR and LQ leave them in a matrix, times another.
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// c (m, ·) ← H₀ H₁ … c, with reflectors in the columns of a (m, n), below its diagonal.
template <class T>
void apply_columns(const Columns<T>& a, const T* tau, const Columns<T>& c);

// c (·, n) ← c … H₁ H₀, with reflectors in the rows of a (m, n), each beginning `offset` columns right of the diagonal.
template <class T>
void apply_rows(const Columns<T>& a, int offset, const T* tau, const Columns<T>& c);

}  // namespace sigma::cpu
