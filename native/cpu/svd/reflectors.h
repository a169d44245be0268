// Applies the Householder reflectors that `bidiagonalise`, geqrf or gelqf stored in a matrix.
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// c (m, n) = aᵀ b + beta c for a (length, m) and b (length, n). Long sums are split.
template <class T>
void add_inner_products(const Columns<T>& a, const Columns<T>& b, T beta, const Columns<T>& c);

// The upper triangle T with H₀ H₁ … = 1 - V T Vᵀ for V = [corner; rest].
template <class T>
void block_triangle(const Columns<T>& corner, const Columns<T>& rest, const T* tau, const Columns<T>& to);

// c (m, ·) ← H₀ H₁ … c, with the reflectors below the diagonal of a (m, n).
template <class T>
void apply_columns(const Columns<T>& a, const T* tau, const Columns<T>& c);

// c (·, n) ← c … H₁ H₀, with the reflectors in the rows of a (m, n), `offset` columns right of the diagonal.
template <class T>
void apply_rows(const Columns<T>& a, int offset, const T* tau, const Columns<T>& c);

}  // namespace sigma::cpu
