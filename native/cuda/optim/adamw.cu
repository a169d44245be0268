#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/ops.h"
#include "cuda/optim/steps.h"

namespace sigma::cuda {
namespace {

template <class T>
AdamW<T> constants(const sigma_adamw& o) {
  const auto step = static_cast<double>(o.step);
  AdamW<T> c = {};
  c.keep = static_cast<T>(1 - o.lr * o.weight_decay);
  c.rate = static_cast<T>(o.lr / (1 - std::pow(o.beta1, step)));
  c.beta1 = static_cast<T>(o.beta1);
  c.take1 = static_cast<T>(1 - o.beta1);
  c.beta2 = static_cast<T>(o.beta2);
  c.take2 = static_cast<T>(1 - o.beta2);
  c.corrected = static_cast<T>(1 / std::sqrt(1 - std::pow(o.beta2, step)));
  c.eps = static_cast<T>(std::max(o.eps, static_cast<double>(std::numeric_limits<T>::min())));
  return c;
}

template <class T>
StepTensor<T> tensor_of(const sigma_adamw& call) {
  return {static_cast<T*>(call.parameter),
          static_cast<const T*>(call.gradient),
          static_cast<T*>(call.m),
          static_cast<T*>(call.v),
          call.count,
          0,
          false};
}

}  // namespace

void adamw_each(sigma_context& context, const sigma_adamw* calls, int64_t count) {
  while (count > 0) {
    const int64_t alike = steps_alike(calls, count, constants<double>);
    for_real(calls->real, [&]<class T>(std::type_identity<T>) {
      const AdamW<T> shared = constants<T>(*calls);
      if (alike <= kFewTensors) {
        launch_steps(context, "adamw", adamw_kernel<T, kFewTensors>, shared, calls, alike, tensor_of<T>);
      } else {
        launch_steps(context, "adamw", adamw_kernel<T, kManyTensors>, shared, calls, alike, tensor_of<T>);
      }
    });
    calls += alike;
    count -= alike;
  }
}

void adamw(sigma_context& context, const sigma_adamw& call) { adamw_each(context, &call, 1); }

}  // namespace sigma::cuda
