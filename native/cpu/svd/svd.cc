// Thin SVDs, side by side on the pool, each with BLAS on one thread; a single one spreads what it can.
#include <vector>

#include "cpu/ops.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/solve.h"

namespace sigma::cpu {
namespace {

// A routine, and in float32 the same routine by way of float64 if the first answer misses the limit.
template <class T, SvdRoute<T> route, SvdRoute<double> wide>
void solve_by(const SvdProblem<T>& p) {
  if constexpr (sizeof(T) == sizeof(float)) {
    solve_by_chain<T>({route, svd_in_float64<wide>}, p);
  } else {
    solve_by_chain<T>({route}, p);
  }
}

// 'auto': divide and conquer, by way of float64 too, and QR iteration as the last resort.
template <class T>
void solve_auto(const SvdProblem<T>& p) {
  if constexpr (sizeof(T) == sizeof(float)) {
    solve_by_chain<T>(
        {svd_divide_and_conquer<T>, svd_in_float64<svd_divide_and_conquer<double>>, svd_in_float64<svd_gesvd<double>>},
        p);
  } else {
    solve_by_chain<T>({svd_divide_and_conquer<T>, svd_gesvd<T>}, p);
  }
}

template <class T>
void solve(sigma_svd_driver driver, const SvdProblem<T>& p) {
  require_finite(p);
  if (driver == SIGMA_SVD_GESDD) {
    solve_by<T, svd_gesdd<T>, svd_gesdd<double>>(p);
  } else if (driver == SIGMA_SVD_GESVD) {
    solve_by<T, svd_gesvd<T>, svd_gesvd<double>>(p);
  } else {
    solve_auto(p);
  }
  fix_signs(p);
}

template <class T>
void solve_all(const sigma_svd& call) {
  const auto& [real, driver, problems, count, failed] = call;
  if (driver != SIGMA_SVD_AUTO && driver != SIGMA_SVD_GESDD && driver != SIGMA_SVD_GESVD) {
    throw Failure(SIGMA_UNSUPPORTED, "expected 'auto', 'gesdd' or 'gesvd', which the CPU has");
  }
  const AtWork here;
  // One slot a problem, so that the first failure is named whatever the order in which threads met it.
  std::vector<std::exception_ptr> errors(static_cast<size_t>(count));
  parallel_for(count, [&](int64_t index) {
    try {
      solve(driver, SvdProblem<T>(problems[index]));
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

}  // namespace

void svd(const sigma_svd& call) {
  for_real(call.real, [&]<class T>() { solve_all<T>(call); });
}

}  // namespace sigma::cpu
