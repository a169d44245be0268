// Optimiser steps, in place. What is trained is float32 or float64: beside bfloat16 matrices it is float32.
#include <algorithm>
#include <cmath>
#include <limits>

#include "dispatch.h"
#include "kernels/optim.cuh"
#include "ops.h"

namespace sigma::cuda {
namespace {

template <class Body>
void for_trained_type(sigma_dtype dtype, const Body& body) {
  if (dtype == SIGMA_FLOAT32) return body(std::type_identity<float>());
  if (dtype == SIGMA_FLOAT64) return body(std::type_identity<double>());
  throw Failure(SIGMA_UNSUPPORTED, "optimisers step float32 and float64 numbers only");
}

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

void adamw(sigma_context& context, sigma_dtype dtype, const sigma_adamw& options, int64_t count, void* parameter,
           const void* gradient, void* m, void* v) {
  if (count == 0) return;
  for_trained_type(dtype, [&]<class T>(std::type_identity<T>) {
    const bool aligned =
        starts_aligned(parameter) && starts_aligned(gradient) && starts_aligned(m) && starts_aligned(v);
    launch(context, "adamw", adamw_kernel<T>, vector_grid<T>(count), dim3(256), 0, constants<T>(options), count,
           static_cast<T*>(parameter), static_cast<const T*>(gradient), static_cast<T*>(m), static_cast<T*>(v),
           aligned);
  });
}

void sgd(sigma_context& context, sigma_dtype dtype, const sigma_sgd& options, int64_t count, void* parameter,
         const void* gradient, void* momentum_buffer) {
  if (count == 0) return;
  for_trained_type(dtype, [&]<class T>(std::type_identity<T>) {
    const bool aligned =
        starts_aligned(parameter) && starts_aligned(gradient) && starts_aligned(momentum_buffer);  // null is
    launch(context, "sgd", sgd_kernel<T>, vector_grid<T>(count), dim3(256), 0, constants<T>(options), count,
           static_cast<T*>(parameter), static_cast<const T*>(gradient), static_cast<T*>(momentum_buffer), aligned);
  });
}

}  // namespace sigma::cuda
