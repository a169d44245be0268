// Applies the Householder reflectors that `bidiagonalise`, geqrf or gelqf stored in a matrix.
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// c (m, ·) ← H₀ H₁ … c, with the reflectors below the diagonal of a (m, n).
template <class T>
void apply_columns(const Columns<T>& a, const T* tau, const Columns<T>& c);

// c (·, n) ← c … H₁ H₀, with the reflectors in the rows of a (m, n), `offset` columns right of the diagonal.
template <class T>
void apply_rows(const Columns<T>& a, int offset, const T* tau, const Columns<T>& c);

}  // namespace sigma::cpu
