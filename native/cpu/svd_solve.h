// A chain of routes: the first answer that passes a cheap probe is taken.
#pragma once

#include <cmath>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <string>

#include "blas.h"
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

  bool within(double most_residual, double most_orthogonality) const {
    // inf / inf is NaN, which is not within.
    return residual <= most_residual && orthogonality <= most_orthogonality;
  }
};

// Random signs of one size: no component of the error can hide behind a small number.
template <class T>
std::unique_ptr<T[]> random_signs(int count, T size = T{1}) {
  auto signs = numbers<T>(static_cast<size_t>(count));
  uint64_t state = 0x9e3779b97f4a7c15;
  for (int i = 0; i < count; ++i) {
    state = state * 6364136223846793005 + 1442695040888963407;
    signs[static_cast<size_t>(i)] = (state >> 63) != 0 ? size : -size;
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

// ‖Q Qᵀ w − w‖ / ‖w‖ for orthonormal rows Q (r, n), or columns where `columns`: (n, r)
template <class T>
double orthogonality(const T* q, int r, int n, bool columns) {
  const auto w = random_signs<T>(r);
  const auto image = numbers<T>(static_cast<size_t>(n)), back = numbers<T>(static_cast<size_t>(r));
  if (columns) {
    blas_gemv(CblasNoTrans, n, r, q, r, w.get(), image.get());
    blas_gemv(CblasTrans, n, r, q, r, image.get(), back.get());
  } else {
    blas_gemv(CblasTrans, r, n, q, n, w.get(), image.get());
    blas_gemv(CblasNoTrans, r, n, q, n, image.get(), back.get());
  }
  for (int i = 0; i < r; ++i) back[static_cast<size_t>(i)] -= w[static_cast<size_t>(i)];
  return norm_of(back.get(), r) / std::sqrt(static_cast<double>(r));
}

// Six products with a vector: less than 1 % of a decomposition from a few dozen rows on.
template <class T>
SvdQuality probe(const SvdProblem<T>& p) {
  // z of a size at which no product over- or underflows, as far as an exponent can make up for the largest value's.
  const int exponent = p.s[0] > 0 && std::isfinite(p.s[0]) ? std::clamp(-std::ilogb(p.s[0]), -100, 100) : 0;
  const auto z = random_signs<T>(p.n, std::ldexp(T{1}, exponent));
  const auto found = numbers<T>(static_cast<size_t>(p.m)), wanted = numbers<T>(static_cast<size_t>(p.m));
  const auto inner = numbers<T>(static_cast<size_t>(p.r));
  blas_gemv(CblasNoTrans, p.m, p.n, p.a, p.n, z.get(), wanted.get());
  blas_gemv(CblasNoTrans, p.r, p.n, p.vt, p.n, z.get(), inner.get());
  for (int i = 0; i < p.r; ++i) inner[static_cast<size_t>(i)] *= p.s[i];
  blas_gemv(CblasNoTrans, p.m, p.r, p.u, p.r, inner.get(), found.get());
  for (int i = 0; i < p.m; ++i) found[static_cast<size_t>(i)] -= wanted[static_cast<size_t>(i)];
  const double off = norm_of(found.get(), p.m);
  // For random signs the expectation of ‖A z‖² is ‖A‖_F², which is Σ s². Where s is too small, A z still tells.
  const double size = std::fmax(std::ldexp(norm_of(p.s, p.r), exponent), norm_of(wanted.get(), p.m));
  return {size > 0 ? off / size : off,
          std::fmax(orthogonality(p.u, p.r, p.m, true), orthogonality(p.vt, p.r, p.n, false))};
}

// What the probe of a good answer stays below: a few times what LAPACK reaches, within the accuracy that svd promises.
template <class T>
constexpr double kResidual = sizeof(T) == sizeof(float) ? 5e-6 : 1e-14;
template <class T>
constexpr double kOrthogonality = sizeof(T) == sizeof(float) ? 1e-5 : 2e-14;

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

// Tries the routes in turn; the last one's answer is held to ten times the limit, for lack of a better.
template <class T>
void solve_by_chain(std::initializer_list<SvdRoute<T>> chain, const SvdProblem<T>& p) {
  const double size = std::sqrt(static_cast<double>(std::max(p.m, p.n)) / 1024);
  const double growth = std::fmax(1.0, size);  // rounding grows with the root of the length
  size_t left = chain.size();
  for (const SvdRoute<T> route : chain) {
    const double slack = --left == 0 ? 10 * growth : growth;
    if (route(p) && probe(p).within(slack * kResidual<T>, slack * kOrthogonality<T>)) return;
  }
  throw Failure(SIGMA_NOT_CONVERGED, "no routine found singular values that reproduce the matrix");
}

}  // namespace sigma::cpu
