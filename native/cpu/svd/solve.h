// A chain of routes: the first answer that passes a cheap probe is taken.
#pragma once

#include <cmath>
#include <initializer_list>
#include <limits>
#include <string>

#include "contract/svd_limits.h"
#include "cpu/svd/probe.h"
#include "cpu/svd/routes.h"

namespace sigma::cpu {

// As JavaScript writes it.
inline const char* non_finite_name(double value) {
  return std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
}

template <class T>
void require_finite(const SvdProblem<T>& p) {
  if (std::isfinite(p.largest)) return;
  for (size_t i = 0; i < p.size(); ++i) {
    if (!std::isfinite(p.a[i])) {
      const auto columns = static_cast<size_t>(p.n);
      throw Failure(SIGMA_NON_FINITE, std::string("expected finite numbers, got ") +
                                          non_finite_name(static_cast<double>(p.a[i])) + " at row " +
                                          std::to_string(i / columns) + ", column " + std::to_string(i % columns));
    }
  }
}

// A singular pair is unique only up to a common sign. The rule of native/svd_limits.h makes devices, routines and types
// agree.
template <class T>
void fix_signs(const SvdProblem<T>& p) {
  const auto r = static_cast<size_t>(p.r);
  const auto row = [&](int i) { return p.u + static_cast<size_t>(i) * r; };
  const auto least = numbers<T>(r), first = numbers<T>(r);
  std::fill_n(least.get(), r, T{0});
  for (int i = 0; i < p.m; ++i) {
    const T* const u = row(i);
    for (size_t j = 0; j < r; ++j) least[j] = std::abs(u[j]) > least[j] ? std::abs(u[j]) : least[j];
  }
  for (size_t j = 0; j < r; ++j) least[j] *= static_cast<T>(kSvdTie);
  // From the last row up: what is left at the end is the first.
  std::fill_n(first.get(), r, T{1});
  for (int i = p.m; i-- > 0;) {
    const T* const u = row(i);
    for (size_t j = 0; j < r; ++j) first[j] = std::abs(u[j]) >= least[j] ? u[j] : first[j];
  }
  for (int i = 0; i < p.m; ++i) {
    T* const u = row(i);
    for (size_t j = 0; j < r; ++j) u[j] = first[j] < 0 ? -u[j] : u[j];
  }
  for (size_t j = 0; j < r; ++j) {
    if (!(first[j] < 0)) continue;
    T* const v = p.vt + j * static_cast<size_t>(p.n);
    for (int i = 0; i < p.n; ++i) v[i] = -v[i];
  }
}

// Tries the routes in turn until an answer is within the limit. If none is, the best is taken if it is within what is
// forgiven.
template <class T>
void solve_by_chain(std::initializer_list<SvdRoute<T>> chain, const SvdProblem<T>& p) {
  SvdRoute<T> best = nullptr;
  SvdRoute<T> last = nullptr;
  double least = SvdLimits<T>::forgiven;
  for (const SvdRoute<T> route : chain) {
    if (!route(p)) continue;
    last = route;
    const double found = svd_excess_of(p);
    if (found <= 1) return;
    if (found < least) {
      best = route;
      least = found;
    }
  }
  if (best == nullptr) {
    throw Failure(SIGMA_NOT_CONVERGED, last == nullptr
                                           ? "the iteration did not converge"
                                           : "no routine found singular values and vectors that reproduce the matrix");
  }
  if (best != last) best(p);
}

}  // namespace sigma::cpu
