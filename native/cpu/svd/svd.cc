// Thin SVDs: several run in parallel on the pool; a single SVD is itself parallel.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu/ops.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/partial.h"
#include "cpu/svd/solve.h"

namespace sigma::cpu {
namespace {

// Best first. 'auto' tries divide and conquer, then QR iteration. In float32, a routine that misses the limits is
// repeated in float64.
template <class T>
std::vector<SvdRoutine<SvdRoute<T>>> routines() {
  if constexpr (sizeof(T) == sizeof(float)) {
    return {{SIGMA_SVD_AUTO, true, svd_divide_and_conquer<T>},
            {SIGMA_SVD_AUTO, true, svd_in_float64<svd_divide_and_conquer<double>>},
            {SIGMA_SVD_GESDD, false, svd_gesdd<T>},
            {SIGMA_SVD_GESDD, false, svd_in_float64<svd_gesdd<double>>},
            {SIGMA_SVD_GESVD, false, svd_gesvd<T>},
            {SIGMA_SVD_GESVD, true, svd_in_float64<svd_gesvd<double>>}};
  } else {
    return {{SIGMA_SVD_AUTO, true, svd_divide_and_conquer<T>},
            {SIGMA_SVD_GESDD, false, svd_gesdd<T>},
            {SIGMA_SVD_GESVD, true, svd_gesvd<T>}};
  }
}

template <class T>
void require_finite(const SvdProblem<T>& p) {
  if (std::isfinite(p.largest)) return;
  const T* const bad = std::find_if_not(p.a, p.a + p.size(), [](T x) { return std::isfinite(x); });
  svd_refuse_non_finite(static_cast<double>(*bad), bad - p.a, p.n);
}

// Applies the sign rule of contract/svd_limits.h, a strip of columns of U per task.
template <class T>
void fix_signs(const SvdProblem<T>& p) {
  constexpr int kStrip = 2 * kLine<T>;
  parallel_for(blocks(p.k, kStrip), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kStrip, width = std::min(kStrip, p.k - begin);
    const auto row = [&](int i) { return p.u + static_cast<size_t>(i) * static_cast<size_t>(p.k) + begin; };
    T least[kStrip] = {}, first[kStrip];
    for (int i = 0; i < p.m; ++i) {
      const T* const u = row(i);
      for (int j = 0; j < width; ++j) least[j] = std::abs(u[j]) > least[j] ? std::abs(u[j]) : least[j];
    }
    for (int j = 0; j < width; ++j) least[j] *= static_cast<T>(kSvdTie);
    // Goes upwards, so that the first such row is stored last.
    std::fill_n(first, width, T{1});
    for (int i = p.m; i-- > 0;) {
      const T* const u = row(i);
      for (int j = 0; j < width; ++j) first[j] = std::abs(u[j]) >= least[j] ? u[j] : first[j];
    }
    for (int i = 0; i < p.m; ++i) {
      T* const u = row(i);
      for (int j = 0; j < width; ++j) u[j] = first[j] < 0 ? -u[j] : u[j];
    }
    for (int j = 0; j < width; ++j) {
      if (!(first[j] < 0)) continue;
      T* const v = p.vt + static_cast<size_t>(begin + j) * static_cast<size_t>(p.n);
      for (int i = 0; i < p.n; ++i) v[i] = -v[i];
    }
  });
}

// Decomposes A and copies the p.k largest triples.
template <class T>
void solve_whole(const std::vector<SvdRoute<T>>& chain, const SvdProblem<T>& p) {
  const auto r = static_cast<size_t>(p.r), k = static_cast<size_t>(p.k), n = static_cast<size_t>(p.n);
  const auto u = numbers<T>(static_cast<size_t>(p.m) * r), s = numbers<T>(r), vt = numbers<T>(r * n);
  svd_solve(chain, SvdProblem<T>(p.m, p.n, p.a, u.get(), s.get(), vt.get()));
  for (int i = 0; i < p.m; ++i) std::copy_n(u.get() + static_cast<size_t>(i) * r, k, p.u + static_cast<size_t>(i) * k);
  std::copy_n(s.get(), k, p.s);
  std::copy_n(vt.get(), k * n, p.vt);
}

template <class T>
void solve(sigma_svd_driver driver, const std::vector<SvdRoute<T>>& chain, const SvdProblem<T>& p) {
  if (p.k == p.r) return svd_solve(chain, p);
  if (driver == SIGMA_SVD_AUTO && svd_is_partial(p.m, p.n, p.k) && svd_partial(p)) return;
  solve_whole(chain, p);
}

template <class T>
void solve_all(const sigma_svd& call) {
  const auto& [real, driver, problems, count, failed] = call;
  const std::vector<SvdRoute<T>> chain = svd_chain<T>(driver, routines<T>(), "the CPU");
  const AtWork here;
  // One slot per problem, so that the reported failure does not depend on the order of threads.
  std::vector<std::exception_ptr> errors(static_cast<size_t>(count));
  parallel_for(count, [&](int64_t index) {
    try {
      const SvdProblem<T> p(problems[index]);
      require_finite(p);
      solve(driver, chain, p);
      fix_signs(p);
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
