// Thin SVDs: A (m, n) = U diag(s) Vt, r = min(m, n), side by side on the pool, each on one thread.
//
// LAPACK counts in columns. Our row-major A is its Aᵀ, whose SVD is V diag(s) Uᵀ: LAPACK's "U" (n, r by columns) is
// our Vt (r, n by rows), and its "VT" is our U. So nothing is ever transposed.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "blas.h"
#include "guard.h"
#include "ops.h"
#include "pool.h"

namespace sigma::cpu {
namespace {

template <class T>
struct Problem {
  explicit Problem(const sigma_svd_problem& given)
      : m(blas_int(given.rows)), n(blas_int(given.columns)), r(std::min(m, n)), a(static_cast<const T*>(given.a)),
        u(static_cast<T*>(given.u)), s(static_cast<T*>(given.s)), vt(static_cast<T*>(given.vt)) {}
  int64_t size() const { return int64_t{m} * n; }

  int m, n, r;
  const T* a;  // (m, n)
  T* u;        // (m, r)
  T* s;        // (r)
  T* vt;       // (r, n)
};

// As JavaScript writes it.
const char* non_finite_name(double value) { return std::isnan(value) ? "NaN" : value > 0 ? "Infinity" : "-Infinity"; }

template <class T>
void require_finite(const Problem<T>& p) {
  for (int64_t i = 0; i < p.size(); ++i) {
    if (!std::isfinite(p.a[i])) {
      throw Failure(SIGMA_NON_FINITE, std::string("expected finite numbers, got ") +
                                          non_finite_name(static_cast<double>(p.a[i])) + " at row " +
                                          std::to_string(i / p.n) + ", column " + std::to_string(i % p.n));
    }
  }
}

// LAPACK overwrites its input.
template <class T>
std::unique_ptr<T[]> copy_of(const Problem<T>& p) {
  auto copy = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(p.size()));
  std::memcpy(copy.get(), p.a, static_cast<size_t>(p.size()) * sizeof(T));
  return copy;
}

// The query comes back as a T, which in float32 cannot hold every integer: go one number up.
template <class T>
int workspace_size(T query) {
  const double size = std::ceil(static_cast<double>(std::nextafter(query, std::numeric_limits<T>::max())));
  return blas_int(static_cast<int64_t>(size));
}

template <class T>
bool gesdd(const Problem<T>& p) {
  const auto a = copy_of(p);
  const auto iwork = std::make_unique_for_overwrite<int[]>(8 * static_cast<size_t>(p.r));
  T query = 0;
  lapack_gesdd(p.n, p.m, a.get(), p.s, p.vt, p.n, p.u, p.r, &query, -1, iwork.get());
  const int lwork = workspace_size(query);
  const auto work = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(lwork));
  return lapack_gesdd(p.n, p.m, a.get(), p.s, p.vt, p.n, p.u, p.r, work.get(), lwork, iwork.get()) == 0;
}

template <class T>
bool gesvd(const Problem<T>& p) {
  const auto a = copy_of(p);
  T query = 0;
  lapack_gesvd(p.n, p.m, a.get(), p.s, p.vt, p.n, p.u, p.r, &query, -1);
  const int lwork = workspace_size(query);
  const auto work = std::make_unique_for_overwrite<T[]>(static_cast<size_t>(lwork));
  return lapack_gesvd(p.n, p.m, a.get(), p.s, p.vt, p.n, p.u, p.r, work.get(), lwork) == 0;
}

// A singular pair is unique only up to a common sign; this rule makes devices and routines agree.
template <class T>
void fix_signs(const Problem<T>& p) {
  std::vector<T> largest(p.u, p.u + p.r);  // (r), from the first row
  for (int i = 1; i < p.m; ++i) {
    const T* const row = p.u + int64_t{i} * p.r;
    for (int j = 0; j < p.r; ++j) {
      if (std::abs(row[j]) > std::abs(largest[j])) largest[j] = row[j];
    }
  }
  for (int i = 0; i < p.m; ++i) {
    T* const row = p.u + int64_t{i} * p.r;
    for (int j = 0; j < p.r; ++j) row[j] = largest[j] < 0 ? -row[j] : row[j];
  }
  for (int j = 0; j < p.r; ++j) {
    if (!(largest[j] < 0)) continue;
    T* const row = p.vt + int64_t{j} * p.n;
    for (int i = 0; i < p.n; ++i) row[i] = -row[i];
  }
}

template <class T>
void solve(sigma_svd_driver driver, const Problem<T>& p) {
  require_finite(p);
  const bool solved = driver == SIGMA_SVD_GESVD   ? gesvd(p)
                      : driver == SIGMA_SVD_GESDD ? gesdd(p)
                                                  : gesdd(p) || gesvd(p);
  if (!solved) throw Failure(SIGMA_NOT_CONVERGED, "LAPACK's iteration did not converge");
  fix_signs(p);
}

}  // namespace

template <class T>
void svd(sigma_svd_driver driver, const sigma_svd_problem* problems, int64_t count, int64_t* failed) {
  if (driver != SIGMA_SVD_AUTO && driver != SIGMA_SVD_GESDD && driver != SIGMA_SVD_GESVD) {
    throw Failure(SIGMA_UNSUPPORTED, "expected 'auto', 'gesdd' or 'gesvd', which the CPU has");
  }
  // One slot a problem, so that the first failure is named whatever the order in which threads met it.
  std::vector<std::exception_ptr> errors(static_cast<size_t>(count));
  parallel_for(count, [&](int64_t index) {
    try {
      solve(driver, Problem<T>(problems[index]));
    } catch (...) {
      errors[static_cast<size_t>(index)] = std::current_exception();
    }
  });
  for (size_t index = 0; index < errors.size(); ++index) {
    if (!errors[index]) continue;
    *failed = static_cast<int64_t>(index);
    std::rethrow_exception(errors[index]);
  }
}

template void svd<float>(sigma_svd_driver, const sigma_svd_problem*, int64_t, int64_t*);
template void svd<double>(sigma_svd_driver, const sigma_svd_problem*, int64_t, int64_t*);

}  // namespace sigma::cpu
