#include "cuda/svd/solve.h"

#include <algorithm>
#include <type_traits>

#include "cuda/svd/quality.h"

namespace sigma::cuda {
namespace {

// From this ratio on a device's float64 is a token: consumer cards have 32 or 64, the others 2.
constexpr int kTokenFloat64 = 8;

// What is known of one problem while the chain goes on.
template <class T>
struct Progress {
  double least = SvdLimits<T>::forgiven;
  SvdRoute<T> best = nullptr;
  SvdRoute<T> last = nullptr;  // whose answer stands in memory
  std::exception_ptr error;    // of a route that could not even begin
};

template <class T>
std::vector<SvdItem> chosen(const std::vector<SvdItem>& items, const std::vector<size_t>& which) {
  std::vector<SvdItem> some;
  for (const size_t i : which) some.push_back(items[i]);
  return some;
}

// Runs one route on some of the problems; returns those that still need an answer.
template <class T>
std::vector<size_t> try_route(const SvdLane& lane, SvdRoute<T> route, const SvdShape& shape,
                              const std::vector<SvdItem>& items, const std::vector<size_t>& open,
                              std::vector<Progress<T>>& progress) {
  const SvdBatch batch(lane, shape, chosen<T>(items, open));
  std::vector<bool> solved;
  try {
    solved = route(batch);
  } catch (const CudaFailure&) {
    throw;
  } catch (const Failure& failure) {
    // A routine that refuses leaves the problem to the next one.
    if (failure.status() == SIGMA_OUT_OF_MEMORY) throw;
    for (const size_t i : open) progress[i].error = std::current_exception();
    return open;
  }
  const std::vector<SvdSums> sums = svd_sums<T>(batch);
  std::vector<size_t> left;
  for (size_t k = 0; k < open.size(); ++k) {
    const size_t i = open[k];
    Progress<T>& own = progress[i];
    own.last = route;
    const double excess =
        solved[k] ? svd_excess_of<T>(shape, items[i], sums[k]) : std::numeric_limits<double>::infinity();
    if (excess <= 1) continue;
    left.push_back(i);
    if (excess >= own.least) continue;
    own.least = excess;
    own.best = route;
  }
  return left;
}

}  // namespace

template <class T>
SvdChain<T> svd_chain(sigma_svd_driver driver, const Device& device, const SvdShape& shape) {
  constexpr bool kNarrow = std::is_same_v<T, float>;
  switch (driver) {
    case SIGMA_SVD_GESVDJ: return {svd_gesvdj<T>};
    case SIGMA_SVD_GESVDP: return {svd_gesvdp<T>};
    case SIGMA_SVD_GESVD: return {svd_gesvd<T>};
    case SIGMA_SVD_GRAM64:
      if constexpr (kNarrow) return {svd_gram64};
      throw Failure(SIGMA_UNSUPPORTED, "'gram64' loses half of float64's digits: expected float32 matrices for it");
    case SIGMA_SVD_AUTO: break;
    default:
      throw Failure(SIGMA_UNSUPPORTED, "expected 'auto', 'gesvdj', 'gesvdp', 'gesvd' or 'gram64', which CUDA has");
  }
  if (fits_batched_jacobi(shape)) return {svd_gesvdj<T>, svd_gesvdp<T>, svd_gesvd<T>};
  if constexpr (kNarrow) {
    if (device.float_to_double < kTokenFloat64) return {svd_gram64, svd_gesvdp<T>, svd_gesvd<T>};
    return {svd_gesvdp<T>, svd_gram64, svd_gesvd<T>};
  } else {
    return {svd_gesvdp<T>, svd_gesvd<T>};
  }
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
  std::vector<Progress<T>> progress(items.size());
  std::vector<size_t> open;
  for (size_t i = 0; i < items.size(); ++i) open.push_back(i);
  for (const SvdRoute<T> route : chain) {
    if (!open.empty()) open = try_route<T>(lane, route, shape, items, open, progress);
  }
  std::vector<std::exception_ptr> errors(items.size());
  for (const size_t i : open) {
    const Progress<T>& own = progress[i];
    if (own.best == nullptr) {
      errors[i] = own.last == nullptr && own.error
                      ? own.error
                      : std::make_exception_ptr(Failure(SIGMA_NOT_CONVERGED,
                                                        "no routine found singular values that reproduce the matrix, "
                                                        "or they are too large for its type"));
    } else if (own.best != own.last) {
      own.best(SvdBatch(lane, shape, {items[i]}));
    }
  }
  lane.wait();
  return errors;
}

template SvdChain<float> svd_chain<float>(sigma_svd_driver, const Device&, const SvdShape&);
template SvdChain<double> svd_chain<double>(sigma_svd_driver, const Device&, const SvdShape&);
template int64_t svd_batch_limit<float>(const SvdChain<float>&, const SvdShape&);
template int64_t svd_batch_limit<double>(const SvdChain<double>&, const SvdShape&);
template std::vector<std::exception_ptr> svd_solve<float>(const SvdLane&, const SvdChain<float>&, const SvdShape&,
                                                          const std::vector<SvdItem>&);
template std::vector<std::exception_ptr> svd_solve<double>(const SvdLane&, const SvdChain<double>&, const SvdShape&,
                                                           const std::vector<SvdItem>&);

}  // namespace sigma::cuda
