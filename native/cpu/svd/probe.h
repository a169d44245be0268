// How good an answer is, from products with a few random vectors, summed in float64: a check must be finer than what it
// checks. Some 2 % of a decomposition from a few dozen rows on.
#pragma once

#include "cpu/svd/problem.h"

namespace sigma::cpu {

// How many times the limit (native/svd_limits.h) the answer in u, s and vt is at; infinite if it is no answer.
template <class T>
double svd_excess_of(const SvdProblem<T>& p);

}  // namespace sigma::cpu
