// Gram matrices: their largest eigenvectors are singular vectors, and their Cholesky factorisation bounds a norm.
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// g (r, r) ← the lower triangle of EᵀE or E Eᵀ, whichever is smaller; the other triangle is unspecified. The same bits
// for any number of threads.
template <class T>
void gram(const Columns<T>& e, const Columns<T>& g);

// g -= V diag(s)² Vᵀ in the lower triangle, for v (r, k).
template <class T>
void subtract_squares(const Columns<T>& v, const T* s, const Columns<T>& g);

// Whether bound² - G has a Cholesky factorisation in T, so that no eigenvalue of G reaches bound², up to rounding.
// Reads and overwrites the lower triangle. The same bits for any number of threads.
template <class T>
bool is_below(const Columns<T>& g, T bound);

// Whether ‖E‖₂ < bound, up to rounding.
template <class T>
bool norm_is_below(const Columns<T>& e, T bound);

}  // namespace sigma::cpu
