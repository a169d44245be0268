// The accuracy and the sign rule that svd guarantees on every backend. Device code may include this file.
#pragma once

namespace sigma {

// Error limits of an answer. `forgiven`: the multiple of the limits that is still accepted if no routine does better. A
// constant matrix of 2000 by 600 reaches 9 in float64, because all rounding errors in its BLAS sums have one sign.
// float32 can fall back to float64.
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

// In a column of U, every entry of at least this fraction of the largest magnitude counts as largest, and the first of
// these is positive. Without the tolerance, rounding would choose among entries that a symmetry of A makes equal. The
// tolerance is about the square root of float32's epsilon, and the same for both types so that they agree.
constexpr double kSvdTie = 1 - 1.0 / 2048;

}  // namespace sigma
