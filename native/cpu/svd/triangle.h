// The SVD of a matrix with a side that is much longer than the other, by way of the triangle of its QR.
#pragma once

#include "cpu/svd/routes.h"

namespace sigma::cpu {

// A tall A = Q R, or Aᵀ of a wide one; then `route` decomposes R. Returns what `route` returns. The same bits for any
// number of threads, if those of `route` are.
template <class T>
bool through_triangle(const SvdProblem<T>& p, SvdRoute<T> route);

}  // namespace sigma::cpu
