// Accuracy check of an SVD by products with a few random vectors, in float64. Costs about 2 % of a decomposition from a
// few dozen rows on.
#pragma once

#include "cpu/svd/problem.h"

namespace sigma::cpu {

// Measures the answer in u, s and vt.
template <class T>
SvdMeasures svd_measures(const SvdProblem<T>& p);

}  // namespace sigma::cpu
