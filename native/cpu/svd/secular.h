// The secular equation f(σ) = 1 + Σ zⱼ² / (dⱼ² - σ²) = 0, whose roots are the singular values of the matrix with the
// row z on top of diag(0, d₁, d₂, …). Gu and Eisenstat 1995, "A divide-and-conquer algorithm for the bidiagonal SVD";
// Li 1994, "Solving secular equations stably and efficiently".
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// 0 = d₀ < d₁ < …, no z is 0. All are far from overflow and underflow.
template <class T>
struct SecularEquation {
  int count;
  const T* d;
  const T* z;
  const T* squares;  // zⱼ²
  T total;           // Σ zⱼ²
};

// The root between dᵢ and dᵢ₊₁; the last root is above all of d. `products` (count) ← dⱼ² - σ², each to a few units of
// rounding, however close σ is to dⱼ. Returns σ, or NaN if the iteration does not converge.
template <class T>
T secular_root(const SecularEquation<T>& equation, int i, T* products);

// z (count) ← the z of which the computed roots are the exact ones, so that vectors computed with it are orthogonal.
// Column i of `products` belongs to root i. Computes [begin, end) of z.
template <class T>
void exact_row(const SecularEquation<T>& equation, const Columns<T>& products, int begin, int end, T* z);

}  // namespace sigma::cpu
