#include <algorithm>
#include <cmath>
#include <iterator>
#include <type_traits>
#include <vector>

#include "cuda/ops.h"
#include "cuda/optim/kernels/norm.cuh"
#include "cuda/optim/steps.h"

namespace sigma::cuda {
namespace {

template <class T>
StepTensor<T> tensor_of(const sigma_vector& vector) {
  auto* const numbers = static_cast<T*>(vector.data);
  return {numbers, numbers, nullptr, nullptr, vector.length, 0, false};
}

// Calls body(width, first, size), with the number of tensors that a launch can take, for runs of the vectors.
template <class Body>
void for_each_run(int64_t count, const Body& body) {
  for (int64_t first = 0; first < count; first += kManyTensors) {
    const int64_t size = std::min<int64_t>(count - first, kManyTensors);
    if (size <= kFewTensors) {
      body(std::integral_constant<int, kFewTensors>(), first, size);
    } else {
      body(std::integral_constant<int, kManyTensors>(), first, size);
    }
  }
}

// The square root of the sum, scaled as its largest part is. A NaN is in `middle`.
double root_of(const std::vector<SquareSums>& all) {
  SquareSums sums = {};
  for (const SquareSums& each : all) {
    sums.large += each.large;
    sums.middle += each.middle;
    sums.small += each.small;
  }
  const bool with_middle = sums.middle > 0 || std::isnan(sums.middle);
  if (sums.large > 0) {
    if (with_middle) sums.large += sums.middle * kScaleDown * kScaleDown;
    return std::sqrt(sums.large) / kScaleDown;
  }
  const double small = std::sqrt(sums.small) / kScaleUp;
  if (!with_middle) return small;
  return std::hypot(std::sqrt(sums.middle), small);
}

template <class T>
double norm_of(sigma_context& context, const sigma_vector* vectors, int64_t count) {
  std::vector<sigma_vector> all;
  std::copy_if(vectors, vectors + count, std::back_inserter(all), [](const auto& vector) { return vector.length > 0; });
  if (all.empty()) return 0;
  int64_t blocks = 0;
  for (const sigma_vector& vector : all) blocks += blocks_of<T>(vector.length);
  const auto vector_count = static_cast<int64_t>(all.size());
  const int64_t runs = divided_up(vector_count, kManyTensors);
  // The sums of each run, and then of each block.
  auto* const totals =
      static_cast<SquareSums*>(context.scratch(static_cast<size_t>(runs + blocks) * sizeof(SquareSums)));
  unsigned* const counter = context.tickets(1);
  for_each_run(vector_count, [&](auto most, int64_t first, int64_t size) {
    StepTensors<T, most()> tensors = {};
    const int64_t of_run = gather_tensors(tensors, all.data() + first, size, tensor_of<T>);
    launch(context, "norm", norm_kernel<T, most()>, dim3(grid_side(of_run)), dim3(kWarpSize, kWarps),
           16 + 3 * kWarps * sizeof(double), tensors, totals + runs, counter, totals + first / kManyTensors);
  });
  std::vector<SquareSums> sums(static_cast<size_t>(runs));
  context.download(sums.data(), totals, sums.size() * sizeof(SquareSums));
  return root_of(sums);
}

}  // namespace

double norm(sigma_context& context, sigma_real real, const sigma_vector* vectors, int64_t count) {
  double result = 0;
  for_real(real, [&]<class T>(std::type_identity<T>) { result = norm_of<T>(context, vectors, count); });
  return result;
}

void scale(sigma_context& context, sigma_real real, const sigma_vector* vectors, int64_t count, double factor) {
  for_real(real, [&]<class T>(std::type_identity<T>) {
    for_each_run(count, [&](auto most, int64_t first, int64_t size) {
      launch_steps(context, "scale", scale_kernel<T, most()>, factor, vectors + first, size, tensor_of<T>);
    });
  });
}

}  // namespace sigma::cuda
