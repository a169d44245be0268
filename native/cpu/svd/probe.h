// Accuracy check of an SVD by products with a few random vectors, in float64. Costs about 2 % of a decomposition from a
// few dozen rows on.
#pragma once

#include "cpu/svd/problem.h"

namespace sigma::cpu {

// Measures the answer in u, s and vt; p.k is p.r.
template <class T>
SvdMeasures svd_measures(const SvdProblem<T>& p);

// The same for the p.k largest triples: the residual is the larger one of |A V w − U diag(s) w| and |Aᵀ U w − V diag(s)
// w|, and ‖s‖ stands for the size of A.
template <class T>
SvdMeasures svd_partial_measures(const SvdProblem<T>& p);

// An estimate of (Σ σ²)² / Σ σ⁴ by one pass over A: r if all singular values are equal, 1 if all but one are zero.
template <class T>
double participation_ratio(const SvdProblem<T>& p);

}  // namespace sigma::cpu
