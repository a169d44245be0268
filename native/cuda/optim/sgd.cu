#include "cuda/ops.h"
#include "cuda/optim/kernels/optim.cuh"
#include "cuda/runtime/dispatch.h"

namespace sigma::cuda {
namespace {

template <class T>
Sgd<T> constants(const sigma_sgd& o) {
  return {static_cast<T>(o.lr), static_cast<T>(o.weight_decay), static_cast<T>(o.momentum), o.first != 0};
}

}  // namespace

void sgd(sigma_context& context, const sigma_sgd& call) {
  if (call.count == 0) return;
  for_real(call.real, [&]<class T>(std::type_identity<T>) {
    const bool aligned = starts_aligned(call.parameter) && starts_aligned(call.gradient) &&
                         starts_aligned(call.momentum_buffer);  // null counts as aligned
    launch(context, "sgd", sgd_kernel<T>, flat_grid(divided_up(call.count, kPerVector<T>)), dim3(256), 0,
           constants<T>(call), call.count, static_cast<T*>(call.parameter), static_cast<const T*>(call.gradient),
           static_cast<T*>(call.momentum_buffer), aligned);
  });
}

}  // namespace sigma::cuda
