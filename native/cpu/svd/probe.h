// How good an answer is, from products with a few random vectors, summed in float64: a check must be finer than what it
// checks. Some 2 % of a decomposition from a few dozen rows on.
#pragma once

#include "cpu/svd/problem.h"

namespace sigma::cpu {

// Measures the answer in u, s and vt.
template <class T>
SvdMeasures svd_measures(const SvdProblem<T>& p);

}  // namespace sigma::cpu
