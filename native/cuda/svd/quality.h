// How good an answer is, from products with a few random vectors.
#pragma once

#include <algorithm>
#include <cmath>

#include "contract/svd_limits.h"
#include "cuda/svd/batch.h"

namespace sigma::cuda {

// How many times the limit an answer is at; infinite if it is no answer. The largest over the vectors counts: an error
// of rank one hides from a vector orthogonal to it.
template <class T>
double svd_excess_of(const SvdShape& shape, const SvdItem& item, const SvdSums& sums) {
  const auto largest = [](const double* squares) {
    double most = 0;
    for (int v = 0; v < kProbes; ++v) {
      if (std::isnan(squares[v])) return squares[v];
      most = std::max(most, squares[v]);
    }
    return std::sqrt(most);
  };
  const double u = largest(sums.u_deviation), vt = largest(sums.vt_deviation);
  const double deviation = (std::isnan(u) || u > vt ? u : vt) / std::sqrt(static_cast<double>(shape.r()));
  return svd_excess<T>(
      shape.m, shape.n, item.unit,
      {largest(sums.residual), std::sqrt(sums.squares), std::sqrt(sums.values), deviation, sums.values_in_order != 0});
}

}  // namespace sigma::cuda
