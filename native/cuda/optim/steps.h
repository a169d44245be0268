// Launches the step of an optimiser for many tensors at once.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "cuda/optim/kernels/optim.cuh"
#include "cuda/runtime/dispatch.h"

namespace sigma::cuda {

// Small launches take the small one, because the parameters of a kernel are copied for each launch.
constexpr int kFewTensors = 16, kManyTensors = 512;

template <class T>
int64_t blocks_of(int64_t count) {
  return divided_up(count, int64_t{kStepThreads} * kPerVector<T>);
}

// Fills `tensors` with the tensors of `calls` (count), from `tensor_of`. Returns the number of blocks.
template <class T, int most, class Call, class TensorOf>
int64_t gather_tensors(StepTensors<T, most>& tensors, const Call* calls, int64_t count, const TensorOf& tensor_of) {
  int64_t blocks = 0;
  for (int64_t i = 0; i < count; ++i) {
    StepTensor<T> tensor = tensor_of(calls[i]);
    if (tensor.count == 0) continue;
    tensor.first_block = static_cast<unsigned>(blocks);
    // Null counts as aligned.
    tensor.aligned = starts_aligned(tensor.parameter) && starts_aligned(tensor.gradient) && starts_aligned(tensor.m) &&
                     starts_aligned(tensor.v);
    blocks += blocks_of<T>(tensor.count);
    tensors.all[tensors.count++] = tensor;
  }
  return blocks;
}

// `kernel` is called with the constants and the tensors of `calls` (count).
template <class T, int most, class Constants, class Call, class TensorOf>
void launch_steps(sigma_context& context, const char* operation, void (*kernel)(Constants, const StepTensors<T, most>),
                  const Constants& constants, const Call* calls, int64_t count, const TensorOf& tensor_of) {
  StepTensors<T, most> tensors = {};
  const int64_t blocks = gather_tensors(tensors, calls, count, tensor_of);
  if (blocks == 0) return;
  launch(context, operation, kernel, dim3(grid_side(blocks)), dim3(kStepThreads), 0, constants, tensors);
}

// How many of the first calls can share a launch: they have the same type and the same constants.
template <class Call, class Constants>
int64_t steps_alike(const Call* calls, int64_t count, const Constants& constants_of) {
  const auto first = constants_of(calls[0]);
  int64_t alike = 1;
  while (alike < std::min<int64_t>(count, kManyTensors) && calls[alike].real == calls[0].real) {
    const auto constants = constants_of(calls[alike]);
    if (std::memcmp(&constants, &first, sizeof(first)) != 0) break;
    ++alike;
  }
  return alike;
}

// The steps of `calls` (count), those that are alike in one launch. `Rule` has the constants of a call, its tensor, and
// the kernel for at most that many tensors.
template <class Rule, class Call>
void step_each(sigma_context& context, const char* operation, const Call* calls, int64_t count) {
  while (count > 0) {
    const int64_t alike = steps_alike(calls, count, Rule::template constants<double>);
    for_real(calls->real, [&]<class T>(std::type_identity<T>) {
      const auto shared = Rule::template constants<T>(*calls);
      const auto& tensor_of = Rule::template tensor_of<T>;
      if (alike <= kFewTensors) {
        launch_steps(context, operation, Rule::template kernel<T, kFewTensors>(), shared, calls, alike, tensor_of);
      } else {
        launch_steps(context, operation, Rule::template kernel<T, kManyTensors>(), shared, calls, alike, tensor_of);
      }
    });
    calls += alike;
    count -= alike;
  }
}

}  // namespace sigma::cuda
