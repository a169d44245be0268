#include "cuda/ops.h"
#include "cuda/optim/steps.h"

namespace sigma::cuda {
namespace {

template <class T>
Sgd<T> constants(const sigma_sgd& o) {
  return {static_cast<T>(o.lr), static_cast<T>(o.weight_decay), static_cast<T>(o.momentum),
          static_cast<T>(o.first != 0 ? 1 : 0)};
}

template <class T>
StepTensor<T> tensor_of(const sigma_sgd& call) {
  return {static_cast<T*>(call.parameter),
          static_cast<const T*>(call.gradient),
          static_cast<T*>(call.momentum_buffer),
          nullptr,
          call.count,
          0,
          false};
}

}  // namespace

void sgd_each(sigma_context& context, const sigma_sgd* calls, int64_t count) {
  while (count > 0) {
    const int64_t alike = steps_alike(calls, count, constants<double>);
    for_real(calls->real, [&]<class T>(std::type_identity<T>) {
      const Sgd<T> shared = constants<T>(*calls);
      if (alike <= kFewTensors) {
        launch_steps(context, "sgd", sgd_kernel<T, kFewTensors>, shared, calls, alike, tensor_of<T>);
      } else {
        launch_steps(context, "sgd", sgd_kernel<T, kManyTensors>, shared, calls, alike, tensor_of<T>);
      }
    });
    calls += alike;
    count -= alike;
  }
}

void sgd(sigma_context& context, const sigma_sgd& call) { sgd_each(context, &call, 1); }

}  // namespace sigma::cuda
