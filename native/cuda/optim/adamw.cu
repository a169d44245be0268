#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/ops.h"
#include "cuda/optim/kernels/optim.cuh"
#include "cuda/runtime/dispatch.h"

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

}  // namespace

void adamw(sigma_context& context, const sigma_adamw& call) {
  if (call.count == 0) return;
  for_real(call.real, [&]<class T>(std::type_identity<T>) {
    const bool aligned = starts_aligned(call.parameter) && starts_aligned(call.gradient) && starts_aligned(call.m) &&
                         starts_aligned(call.v);
    launch(context, "adamw", adamw_kernel<T>, flat_grid(divided_up(call.count, kPerVector<T>)), dim3(256), 0,
           constants<T>(call), call.count, static_cast<T*>(call.parameter), static_cast<const T*>(call.gradient),
           static_cast<T*>(call.m), static_cast<T*>(call.v), aligned);
  });
}

}  // namespace sigma::cuda
