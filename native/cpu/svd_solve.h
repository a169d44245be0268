// A chain of routes: the first answer that passes a cheap probe is taken.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>

#include "svd_routes.h"

namespace sigma::cpu {

// As JavaScript writes it.
inline const char* non_finite_name(double value) {
  return std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
}

template <class T>
void require_finite(const SvdProblem<T>& p) {
  for (size_t i = 0; i < p.size(); ++i) {
    if (!std::isfinite(p.a[i])) {
      const auto columns = static_cast<size_t>(p.n);
      throw Failure(SIGMA_NON_FINITE, std::string("expected finite numbers, got ") +
                                          non_finite_name(static_cast<double>(p.a[i])) + " at row " +
                                          std::to_string(i / columns) + ", column " + std::to_string(i % columns));
    }
  }
}

// Two numbers that say how good an answer is, each from products with one random vector.
struct SvdQuality {
  double residual;       // ‖A z − U diag(s) Vt z‖ over what it would be for an error as large as A
  double orthogonality;  // ‖Uᵀ U w − w‖ / ‖w‖, and the same of Vt: the larger
};

// Random signs: no component of the error can hide behind a small number.
inline Numbers<double> random_signs(int count) {
  auto signs = numbers<double>(static_cast<size_t>(count));
  uint64_t state = 0x9e3779b97f4a7c15;
  for (int i = 0; i < count; ++i) {
    state = state * 6364136223846793005 + 1442695040888963407;
    signs[static_cast<size_t>(i)] = (state >> 63) != 0 ? 1.0 : -1.0;
  }
  return signs;
}

// Infinity where any number is not finite.
template <class T>
double norm_of(const T* x, int count) {
  double largest = 0, squares = 0;
  for (int i = 0; i < count; ++i) {
    if (!std::isfinite(x[i])) return std::numeric_limits<double>::infinity();
    largest = std::fmax(largest, std::abs(static_cast<double>(x[i])));
  }
  if (largest == 0) return 0;
  for (int i = 0; i < count; ++i) {
    const double part = static_cast<double>(x[i]) / largest;
    squares += part * part;
  }
  return largest * std::sqrt(squares);
}

// y (m) = A x for the rows of A (m, n). Sums in double, eight side by side: the probe must be finer than what it
// judges.
template <class T>
void times(const T* a, int m, int n, const double* x, double* y) {
  for (int i = 0; i < m; ++i) {
    const T* const row = a + static_cast<size_t>(i) * static_cast<size_t>(n);
    double sums[8] = {};
    int j = 0;
    for (; j + 8 <= n; j += 8) {
      for (int lane = 0; lane < 8; ++lane) sums[lane] += static_cast<double>(row[j + lane]) * x[j + lane];
    }
    for (; j < n; ++j) sums[0] += static_cast<double>(row[j]) * x[j];
    y[i] = ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
  }
}

// y (n) = Aᵀ x, a block of rows at a time, so that no sum runs over all of a long matrix.
template <class T>
void transposed_times(const T* a, int m, int n, const double* x, double* y) {
  constexpr int kBlock = 256;
  const auto part = numbers<double>(static_cast<size_t>(n));
  std::fill_n(y, n, 0.0);
  for (int begin = 0; begin < m; begin += kBlock) {
    std::fill_n(part.get(), n, 0.0);
    for (int i = begin; i < std::min(m, begin + kBlock); ++i) {
      const T* const row = a + static_cast<size_t>(i) * static_cast<size_t>(n);
      for (int j = 0; j < n; ++j) part[static_cast<size_t>(j)] += static_cast<double>(row[j]) * x[i];
    }
    for (int j = 0; j < n; ++j) y[j] += part[static_cast<size_t>(j)];
  }
}

// ‖Qᵀ Q w − w‖ / ‖w‖ for orthonormal columns Q (n, r), or the same of rows (r, n).
template <class T>
double orthogonality(const T* q, int r, int n, bool columns) {
  const auto w = random_signs(r);
  const auto image = numbers<double>(static_cast<size_t>(n)), back = numbers<double>(static_cast<size_t>(r));
  if (columns) {
    times(q, n, r, w.get(), image.get());
    transposed_times(q, n, r, image.get(), back.get());
  } else {
    transposed_times(q, r, n, w.get(), image.get());
    times(q, r, n, image.get(), back.get());
  }
  for (int i = 0; i < r; ++i) back[static_cast<size_t>(i)] -= w[static_cast<size_t>(i)];
  return norm_of(back.get(), r) / std::sqrt(static_cast<double>(r));
}

// Six products with a vector: about 1 % of a decomposition from a few dozen rows on.
template <class T>
SvdQuality probe(const SvdProblem<T>& p) {
  const auto z = random_signs(p.n);
  const auto found = numbers<double>(static_cast<size_t>(p.m)), wanted = numbers<double>(static_cast<size_t>(p.m));
  const auto inner = numbers<double>(static_cast<size_t>(p.r));
  // Numbers at the ends of float64's range are brought to where their sums have room.
  const double unit =
      p.s[0] > 0 && std::isfinite(p.s[0]) ? std::ldexp(1.0, std::clamp(-std::ilogb(p.s[0]), -1000, 1000)) : 1;
  for (int i = 0; i < p.n; ++i) z[static_cast<size_t>(i)] *= unit;
  times(p.a, p.m, p.n, z.get(), wanted.get());
  times(p.vt, p.r, p.n, z.get(), inner.get());
  for (int i = 0; i < p.r; ++i) inner[static_cast<size_t>(i)] *= static_cast<double>(p.s[i]);
  times(p.u, p.m, p.r, inner.get(), found.get());
  for (int i = 0; i < p.m; ++i) found[static_cast<size_t>(i)] -= wanted[static_cast<size_t>(i)];
  // Below the smallest normal number s has fewer digits: what it cannot say is no error.
  const double least = static_cast<double>(std::numeric_limits<T>::denorm_min()) * unit;
  const double blur = 8 * least * std::sqrt(static_cast<double>(p.m)) * static_cast<double>(p.n);
  const double off = std::fmax(0.0, norm_of(found.get(), p.m) - blur);
  // For random signs the expectation of ‖A z‖² is ‖A‖_F², which is Σ s². Where s is too small, A z still tells.
  const double size = std::fmax(norm_of(p.s, p.r) * unit, norm_of(wanted.get(), p.m));
  return {size > 0 ? off / size : off,
          std::fmax(orthogonality(p.u, p.r, p.m, true), orthogonality(p.vt, p.r, p.n, false))};
}

// What the probe of a good answer stays below: a few times what LAPACK reaches, within the accuracy that svd promises.
template <class T>
constexpr double kResidual = sizeof(T) == sizeof(float) ? 5e-6 : 1e-14;
template <class T>
constexpr double kOrthogonality = sizeof(T) == sizeof(float) ? 1e-5 : 2e-14;

// How many times the limit an answer may be at which the whole chain has failed. A float32 problem has been through
// float64.
template <class T>
constexpr double kForgiven = sizeof(T) == sizeof(float) ? 30 : 1000;

// A singular pair is unique only up to a common sign; this rule makes devices and routines agree.
template <class T>
void fix_signs(const SvdProblem<T>& p) {
  const auto r = static_cast<size_t>(p.r);
  const auto largest = numbers<T>(r);  // from the first row on
  std::copy_n(p.u, r, largest.get());
  for (int i = 1; i < p.m; ++i) {
    const T* const row = p.u + static_cast<size_t>(i) * r;
    for (size_t j = 0; j < r; ++j) {
      if (std::abs(row[j]) > std::abs(largest[j])) largest[j] = row[j];
    }
  }
  for (int i = 0; i < p.m; ++i) {
    T* const row = p.u + static_cast<size_t>(i) * r;
    for (size_t j = 0; j < r; ++j) row[j] = largest[j] < 0 ? -row[j] : row[j];
  }
  for (size_t j = 0; j < r; ++j) {
    if (!(largest[j] < 0)) continue;
    T* const row = p.vt + j * static_cast<size_t>(p.n);
    for (int i = 0; i < p.n; ++i) row[i] = -row[i];
  }
}

// Tries the routes in turn until an answer is within the limit. Where none is, the best is taken if it is within what
// is forgiven: long coherent matrices cost even good routines some digits.
template <class T>
void solve_by_chain(std::initializer_list<SvdRoute<T>> chain, const SvdProblem<T>& p) {
  // Rounding grows with the length.
  const double growth = std::fmax(1.0, static_cast<double>(std::max(p.m, p.n)) / 1024);
  const auto excess = [&] {
    const SvdQuality quality = probe(p);
    const double worse = std::fmax(quality.residual / kResidual<T>, quality.orthogonality / kOrthogonality<T>);
    return std::isfinite(quality.residual + quality.orthogonality) ? worse / growth
                                                                   : std::numeric_limits<double>::infinity();
  };
  SvdRoute<T> best = nullptr;
  SvdRoute<T> last = nullptr;
  double least = kForgiven<T>;
  for (const SvdRoute<T> route : chain) {
    if (!route(p)) continue;
    last = route;
    const double found = excess();
    if (found <= 1) return;
    if (found < least) {
      best = route;
      least = found;
    }
  }
  if (best == nullptr) {
    throw Failure(SIGMA_NOT_CONVERGED,
                  "no routine found singular values that reproduce the matrix, or they are too large for its type");
  }
  if (best != last) best(p);
}

}  // namespace sigma::cpu
