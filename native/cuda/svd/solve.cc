#include "cuda/svd/solve.h"

#include <type_traits>

namespace sigma::cuda {
namespace {

// From this ratio of float32 to float64 throughput on, float64 is slow: consumer cards have 32 or 64, the others 2.
constexpr int kSlowFloat64 = 8;

SvdMeasures measures_of(const SvdItem& item, const SvdSums& sums) {
  return {item.unit,
          svd_longest(sums.residual, kProbes),
          std::sqrt(sums.squares),
          std::sqrt(sums.values),
          svd_longest(sums.u_deviation, kProbes),
          svd_longest(sums.vt_deviation, kProbes),
          sums.values_in_order != 0};
}

}  // namespace

template <class T>
std::vector<SvdRoutine<SvdRoute<T>>> svd_routines(const Device& device, const SvdShape& shape) {
  const bool small = fits_batched_jacobi(shape);
  std::vector<SvdRoutine<SvdRoute<T>>> all = {{SIGMA_SVD_GESVDJ, small, svd_gesvdj<T>},
                                              {SIGMA_SVD_GESVDP, true, svd_gesvdp<T>},
                                              {SIGMA_SVD_GESVD, true, svd_gesvd<T>}};
  // In float64, gram64 would lose half the digits.
  if constexpr (std::is_same_v<T, float>) {
    const bool before_gesvdp = device.float_to_double < kSlowFloat64;
    all.insert(all.begin() + (before_gesvdp ? 1 : 2), {SIGMA_SVD_GRAM64, !small, svd_gram64});
  }
  return all;
}

template <class T>
int64_t svd_batch_limit(const SvdChain<T>& chain, const SvdShape& shape) {
  constexpr int64_t kMost = 4096;
  if (chain.front() == static_cast<SvdRoute<T>>(svd_gesvdj<T>)) return fits_batched_jacobi(shape) ? kMost : 1;
  if constexpr (std::is_same_v<T, float>) {
    if (chain.front() == svd_gram64) return fits_batched_gram(shape) ? kMost : 1;
  }
  return 1;
}

template <class T>
std::vector<std::exception_ptr> svd_solve(const SvdLane& lane, const SvdChain<T>& chain, const SvdShape& shape,
                                          const std::vector<SvdItem>& items) {
  const auto attempt = [&](SvdRoute<T> route, const std::vector<size_t>& problems) {
    std::vector<SvdItem> some;
    for (const size_t i : problems) some.push_back(items[i]);
    const SvdBatch batch(lane, shape, some);
    const std::vector<bool> solved = route(batch);
    const std::vector<SvdSums> sums = svd_sums<T>(batch);
    std::vector<std::optional<SvdMeasures>> answers(some.size());
    for (size_t k = 0; k < some.size(); ++k) {
      if (solved[k]) answers[k] = measures_of(some[k], sums[k]);
    }
    return answers;
  };
  return svd_search<T>(shape.m, shape.n, items.size(), chain, attempt);
}

template std::vector<SvdRoutine<SvdRoute<float>>> svd_routines<float>(const Device&, const SvdShape&);
template std::vector<SvdRoutine<SvdRoute<double>>> svd_routines<double>(const Device&, const SvdShape&);
template int64_t svd_batch_limit<float>(const SvdChain<float>&, const SvdShape&);
template int64_t svd_batch_limit<double>(const SvdChain<double>&, const SvdShape&);
template std::vector<std::exception_ptr> svd_solve<float>(const SvdLane&, const SvdChain<float>&, const SvdShape&,
                                                          const std::vector<SvdItem>&);
template std::vector<std::exception_ptr> svd_solve<double>(const SvdLane&, const SvdChain<double>&, const SvdShape&,
                                                           const std::vector<SvdItem>&);

}  // namespace sigma::cuda
