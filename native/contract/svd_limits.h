// What svd promises on every backend: how good an answer is, and the rule for signs. Device code may include this.
#pragma once

namespace sigma {

// A good answer stays below these. `forgiven`: the multiple of the limits that is still accepted if every routine has
// failed to do better. A constant matrix of 2000 by 600 is at 9 in float64, because its sums round one way in the BLAS
// below LAPACK; float32 has float64 to go to.
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

// In a column of U every entry of at least this part of the largest magnitude counts as one of the largest; the first
// of them is positive. Entries that a symmetry of A makes equal differ by rounding, which must not decide. The
// tolerance, about the square root of float32's epsilon, exceeds float32's rounding by far, and is one for both types,
// so that they agree.
constexpr double kSvdTie = 1 - 1.0 / 2048;

}  // namespace sigma
