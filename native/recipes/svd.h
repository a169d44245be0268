// The SVD policy of all backends: which routines a driver selects, how a matrix is scaled, which answer is accepted,
// and the error messages. A backend provides routines and measures their answers.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "contract/backend.h"
#include "contract/failure.h"
#include "contract/svd_limits.h"

namespace sigma {

// ── routines ─────────────────────────────────────────────────────────────────────────────────────────────

// A routine of a backend. `Route` is the type of the function that runs it.
template <class Route>
struct SvdRoutine {
  sigma_svd_driver driver;  // the driver that asks for this routine by name; SIGMA_SVD_AUTO if none does
  bool in_auto;             // whether 'auto' includes it
  Route route;
};

template <class T>
constexpr const char* kSvdType = sizeof(T) == sizeof(float) ? "float32" : "float64";

// The routes to try in turn. `routines` are the backend's routines for a shape and T, best first: the order depends on
// the hardware. Throws UNSUPPORTED if no routine has the driver's name.
template <class T, class Route>
std::vector<Route> svd_chain(sigma_svd_driver driver, const std::vector<SvdRoutine<Route>>& routines,
                             const char* backend) {
  constexpr const char* kNames[] = {"auto", "gesdd", "gesvd", "gesvdj", "gesvdp", "gram64"};
  std::vector<Route> chain;
  for (const auto& routine : routines) {
    if (driver == SIGMA_SVD_AUTO ? routine.in_auto : routine.driver == driver) chain.push_back(routine.route);
  }
  if (!chain.empty()) return chain;
  std::string text = "expected 'auto'";
  for (int named = SIGMA_SVD_AUTO + 1; named <= SIGMA_SVD_GRAM64; ++named) {
    const bool known = std::any_of(routines.begin(), routines.end(), [&](const auto& r) { return r.driver == named; });
    if (known) text += std::string(", '") + kNames[named] + "'";
  }
  const size_t comma = text.rfind(',');
  if (comma != std::string::npos) text.replace(comma, 1, " or");
  throw Failure(SIGMA_UNSUPPORTED, text + ", which " + backend + " has for " + kSvdType<T>);
}

// ── input ────────────────────────────────────────────────────────────────────────────────────────────────

// Throws NON_FINITE for `value` at `element` of a row-major matrix. Names the value as JavaScript does.
[[noreturn]] inline void svd_refuse_non_finite(double value, int64_t element, int64_t columns) {
  const char* const name = std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity";
  throw Failure(SIGMA_NON_FINITE, std::string("expected finite numbers, got ") + name + " at row " +
                                      std::to_string(element / columns) + ", column " +
                                      std::to_string(element % columns));
}

// The power of two that scales a matrix before a routine runs: 1 if the largest magnitude is between `small` and its
// inverse, so that squares neither overflow nor underflow, otherwise the power that brings it near 1.
template <class T>
T svd_scale(T largest, T small = std::sqrt(std::numeric_limits<T>::min()) / std::numeric_limits<T>::epsilon()) {
  using Range = std::numeric_limits<T>;
  if (largest == 0 || (largest >= small && largest <= 1 / small)) return T{1};
  return std::ldexp(T{1}, std::clamp(-std::ilogb(largest), Range::min_exponent - 1, Range::max_exponent - 1));
}

// The power of two that brings the largest magnitude near 1, for the float64 sums of the accuracy check.
inline double svd_unit(double largest) {
  return largest == 0 ? 1 : std::ldexp(1.0, std::clamp(-std::ilogb(largest), -1000, 1000));
}

// Whether an attempt at k triples alone costs little next to a decomposition.
inline bool svd_is_partial(int64_t m, int64_t n, int64_t k) {
  const int64_t r = std::min(m, n);
  return r >= 256 && 8 * k <= r;
}

// ── output ───────────────────────────────────────────────────────────────────────────────────────────────

// Measures of an answer, in float64. Random vectors z and w, as many as the backend chooses, estimate the norms of the
// error matrices. ‖·‖ is the Frobenius norm.
struct SvdMeasures {
  double unit;      // svd_unit of A; A and s are multiplied by it below
  double residual;  // max over z of |A z − U diag(s) Vᵀ z|
  double size;      // ‖A‖
  double values;    // ‖s‖
  double u_off;     // max over w of |Uᵀ U w − w|
  double vt_off;    // max over w of |Vᵀ V w − w|
  bool in_order;    // whether s is finite, non-negative and descending
};

// The largest norm of `count` vectors, from their sums of squares; NaN if any sum is NaN. The largest, because a vector
// that is orthogonal to an error of rank one does not detect it.
inline double svd_longest(const double* squares, int count) {
  double most = 0;
  for (int v = 0; v < count; ++v) {
    if (std::isnan(squares[v])) return squares[v];
    most = std::max(most, squares[v]);
  }
  return std::sqrt(most);
}

// The error of an answer of k triples to an (m, n) problem as a multiple of the limits; infinite if not in order or not
// finite.
template <class T>
double svd_excess(int64_t m, int64_t n, int64_t k, const SvdMeasures& found) {
  using Limits = SvdLimits<T>;
  constexpr double kNone = std::numeric_limits<double>::infinity();
  const double all = found.residual + found.size + found.values + found.u_off + found.vt_off;
  if (!found.in_order || !std::isfinite(all)) return kNone;
  // Subnormal singular values have fewer digits; the lost digits do not count as error.
  const double rows = static_cast<double>(m), columns = static_cast<double>(n), triples = static_cast<double>(k);
  const double blur =
      8 * static_cast<double>(std::numeric_limits<T>::denorm_min()) * found.unit * std::sqrt(rows) * columns;
  const double residual = std::fmax(0.0, found.residual - blur);
  const double values = std::fmax(0.0, std::abs(found.values - found.size) - blur);
  const double size = found.size > 0 ? found.size : 1;
  const double orthogonality = std::max(found.u_off, found.vt_off) / std::sqrt(triples);
  // Rounding grows with the number of steps, which the shorter side sets. Sums over the longer side are split.
  const double growth = std::sqrt(std::fmax(1.0, triples / 1024));
  return std::max({residual / size / Limits::residual, values / size / Limits::values,
                   orthogonality / Limits::orthogonality}) /
         growth;
}

// NOT_CONVERGED if a finite A has singular values beyond the range of T; null otherwise.
template <class T>
std::exception_ptr svd_too_large(const SvdMeasures& found) {
  const long double norm = static_cast<long double>(found.size) / static_cast<long double>(found.unit);
  if (!std::isinf(found.values) || norm < static_cast<long double>(std::numeric_limits<T>::max()) / 2) return nullptr;
  char text[32];
  std::snprintf(text, sizeof(text), "%.2Lg", norm);
  return std::make_exception_ptr(Failure(
      SIGMA_NOT_CONVERGED, std::string("expected singular values within the range of ") + kSvdType<T> +
                               ", got a matrix of norm " + text + ", which is too large: scale the matrix down"));
}

// Solves `count` problems of shape (m, n) by a chain of routes. Each problem gets the first answer within the limits,
// or else the best answer within `forgiven`. Returns one error per problem, null if solved.
//
// attempt(route, problems) runs a route on the problems with these indices and measures each answer; std::nullopt means
// no convergence. If it throws UNSUPPORTED or NATIVE, the next route is tried. Other failures end the search.
template <class T, class Route, class Attempt>
std::vector<std::exception_ptr> svd_search(int64_t m, int64_t n, size_t count, const std::vector<Route>& chain,
                                           Attempt attempt) {
  struct Progress {
    double least = SvdLimits<T>::forgiven;
    const Route* best = nullptr;
    const Route* last = nullptr;  // the last route that wrote to memory, converged or not
    std::exception_ptr error = nullptr;
  };
  std::vector<Progress> progress(count);
  std::vector<std::exception_ptr> errors(count);
  std::vector<size_t> open(count);
  for (size_t i = 0; i < count; ++i) open[i] = i;
  for (const Route& route : chain) {
    if (open.empty()) return errors;
    std::vector<std::optional<SvdMeasures>> answers;
    try {
      answers = attempt(route, open);
    } catch (const Failure& failure) {
      if (failure.status() != SIGMA_UNSUPPORTED && failure.status() != SIGMA_NATIVE) throw;
      for (const size_t i : open) progress[i].error = std::current_exception();
      continue;
    }
    std::vector<size_t> left;
    for (size_t k = 0; k < open.size(); ++k) {
      const size_t i = open[k];
      Progress& own = progress[i];
      own.last = &route;
      if (answers[k]) {
        const double excess = svd_excess<T>(m, n, std::min(m, n), *answers[k]);
        if (excess <= 1) continue;
        errors[i] = svd_too_large<T>(*answers[k]);
        if (errors[i]) continue;
        if (excess < own.least) {
          own.least = excess;
          own.best = &route;
        }
      }
      left.push_back(i);
    }
    open = std::move(left);
  }
  for (const size_t i : open) {
    const Progress& own = progress[i];
    if (own.best == nullptr) {
      errors[i] =
          own.last == nullptr && own.error
              ? own.error
              : std::make_exception_ptr(Failure(
                    SIGMA_NOT_CONVERGED, "no routine found singular values and vectors that reproduce the matrix"));
    } else if (own.best != own.last) {
      static_cast<void>(attempt(*own.best, std::vector<size_t>{i}));
    }
  }
  return errors;
}

}  // namespace sigma
