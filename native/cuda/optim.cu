// Optimiser steps, in place. What is trained is float32 or float64: beside bfloat16 matrices it is float32.
#include <algorithm>
#include <cmath>
#include <limits>

#include "dispatch.h"
#include "kernels/optim.cuh"
#include "ops.h"

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
Sgd<T> constants(const sigma_sgd& o) {
  return {static_cast<T>(o.lr), static_cast<T>(o.weight_decay), static_cast<T>(o.momentum), o.first != 0};
}

template <class T>
dim3 vector_grid(int64_t count) {
  return flat_grid(divided_up(count, kLanes<T>));
}

}  // namespace

void adamw(sigma_context& context, const sigma_adamw& call) {
  if (call.count == 0) return;
  for_real(call.real, [&]<class T>(std::type_identity<T>) {
    const bool aligned = starts_aligned(call.parameter) && starts_aligned(call.gradient) && starts_aligned(call.m) &&
                         starts_aligned(call.v);
    launch(context, "adamw", adamw_kernel<T>, vector_grid<T>(call.count), dim3(256), 0, constants<T>(call), call.count,
           static_cast<T*>(call.parameter), static_cast<const T*>(call.gradient), static_cast<T*>(call.m),
           static_cast<T*>(call.v), aligned);
  });
}

void sgd(sigma_context& context, const sigma_sgd& call) {
  if (call.count == 0) return;
  for_real(call.real, [&]<class T>(std::type_identity<T>) {
    const bool aligned = starts_aligned(call.parameter) && starts_aligned(call.gradient) &&
                         starts_aligned(call.momentum_buffer);  // null is
    launch(context, "sgd", sgd_kernel<T>, vector_grid<T>(call.count), dim3(256), 0, constants<T>(call), call.count,
           static_cast<T*>(call.parameter), static_cast<const T*>(call.gradient), static_cast<T*>(call.momentum_buffer),
           aligned);
  });
}

}  // namespace sigma::cuda
