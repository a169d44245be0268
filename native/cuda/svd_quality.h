// How good an answer is, from products with a few random vectors.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "svd_batch.h"

namespace sigma::cuda {

// What a good answer stays below: within the accuracy that svd promises.
template <class T>
struct SvdLimits;
template <>
struct SvdLimits<float> {
  static constexpr double residual = 5e-6, orthogonality = 1e-5, size = 1e-5;
  // How many times the limit an answer may be at which the whole chain has failed.
  static constexpr double forgiven = 30;
};
template <>
struct SvdLimits<double> {
  static constexpr double residual = 5e-14, orthogonality = 1e-13, size = 1e-12;
  static constexpr double forgiven = 1000;
};

// How many times the limit an answer is at; infinite where it is none.
template <class T>
double svd_excess(const SvdShape& shape, const SvdItem& item, const SvdSums& sums) {
  using Limits = SvdLimits<T>;
  constexpr double kNone = std::numeric_limits<double>::infinity();
  if (sums.values_in_order == 0) return kNone;
  const auto m = static_cast<double>(shape.m), n = static_cast<double>(shape.n), r = static_cast<double>(shape.r());
  // Below the smallest normal number s has fewer digits: what it cannot say is no error.
  const double blur = 8 * static_cast<double>(std::numeric_limits<T>::denorm_min()) * item.unit * std::sqrt(m) * n;
  const double size = std::sqrt(sums.squares);
  const double residual = std::fmax(0.0, std::sqrt(sums.residual / kProbes) - blur);
  const double values = std::fmax(0.0, std::abs(std::sqrt(sums.values) - size) - blur);
  const double deviation = std::sqrt(std::fmax(sums.u_deviation, sums.vt_deviation) / (kProbes * r));
  const double together = residual + values + deviation + sums.u_deviation + sums.vt_deviation;
  if (!std::isfinite(together)) return kNone;
  // For random signs the expectation of |A z|² is |A|². Rounding grows with the length.
  const double growth = std::fmax(1.0, std::fmax(m, n) / 1024);
  return std::max(
             {residual / size / Limits::residual, values / size / Limits::size, deviation / Limits::orthogonality}) /
         growth;
}

}  // namespace sigma::cuda
