// What the backends share about thin SVDs: how good an answer has to be, and the rule for signs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace sigma {

// A good answer stays below these, which are the accuracy that svd promises. `forgiven`: how many times the limit an
// answer may be at if every routine has failed to do better. A constant matrix of 2000 by 600 is at 9 in float64,
// because its sums round one way in the BLAS below LAPACK; float32 has float64 to go to.
template <class T>
struct SvdLimits;
template <>
struct SvdLimits<float> {
  static constexpr double residual = 5e-6, values = 2e-6, orthogonality = 1e-5, forgiven = 8;
};
template <>
struct SvdLimits<double> {
  static constexpr double residual = 1e-14, values = 2e-14, orthogonality = 2e-14, forgiven = 100;
};

// What a backend measures of an answer, with A and s times a common `unit` that brings A's largest number near 1.
struct SvdMeasures {
  double residual;       // ‖A − U diag(s) Vᵀ‖, estimated by random vectors
  double size;           // ‖A‖
  double values;         // ‖s‖
  double orthogonality;  // ‖UᵀU − 1‖ / √r and the same of Vᵀ, estimated likewise: the larger
  bool in_order;         // whether s is finite, not negative and falls
};

// How many times the limit an answer to an (m, n) problem is at; infinite if it is no answer. All norms are Frobenius'.
template <class T>
double svd_excess(int64_t m, int64_t n, double unit, const SvdMeasures& found) {
  using Limits = SvdLimits<T>;
  constexpr double kNone = std::numeric_limits<double>::infinity();
  if (!found.in_order || !std::isfinite(found.residual + found.size + found.values + found.orthogonality)) return kNone;
  // Below the smallest normal number s has fewer digits: what s cannot express is no error.
  const double rows = static_cast<double>(m), columns = static_cast<double>(n);
  const double blur = 8 * static_cast<double>(std::numeric_limits<T>::denorm_min()) * unit * std::sqrt(rows) * columns;
  const double residual = std::fmax(0.0, found.residual - blur);
  const double values = std::fmax(0.0, std::abs(found.values - found.size) - blur);
  const double size = found.size > 0 ? found.size : 1;
  // Rounding grows with the number of steps, which is that of the shorter side. The longer side adds none: no sum runs
  // over all of it.
  const double growth = std::sqrt(std::fmax(1.0, static_cast<double>(std::min(m, n)) / 1024));
  return std::max({residual / size / Limits::residual, values / size / Limits::values,
                   found.orthogonality / Limits::orthogonality}) /
         growth;
}

// In a column of U every entry of at least this part of the largest magnitude counts as one of the largest; the first
// of them is positive. Entries that a symmetry of A makes equal differ by rounding, which must not decide. The
// tolerance, about the square root of float32's epsilon, exceeds float32's rounding by far, and is one for both types,
// so that they agree.
constexpr double kSvdTie = 1 - 1.0 / 2048;

}  // namespace sigma
