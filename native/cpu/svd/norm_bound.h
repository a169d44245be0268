// A proof that a matrix has no singular value beyond a bound.
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// Whether bound² - EᵀE (or E Eᵀ, whichever is smaller) has a Cholesky factorisation in T, so that ‖E‖₂ < bound up to
// rounding. The same bits for any number of threads.
template <class T>
bool norm_is_below(const Columns<T>& e, T bound);

}  // namespace sigma::cpu
