// One step of an optimiser on (count) numbers, in place: parameter and moments are overwritten.
//
// A thread takes one vector of 16 bytes of each array.
#pragma once

#include "tile.cuh"

namespace sigma::cuda {

// Loshchilov and Hutter 2019, in PyTorch's order of operations.
template <class T>
struct AdamW {
  T keep;   // 1 - lr weight_decay
  T rate;   // lr / (1 - beta1^step)
  T take1;  // 1 - beta1
  T beta2;
  T take2;  // 1 - beta2
  T root;   // sqrt(1 - beta2^step)
  T eps;
};

template <class T>
__global__ void __launch_bounds__(256)
    adamw_kernel(AdamW<T> o, int64_t count, T* parameter, const T* gradient, T* m, T* v, bool aligned) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kLanes<T>;
  if (first >= count) return;
  const int left = count - first < kLanes<T> ? static_cast<int>(count - first) : kLanes<T>;
  T x[kLanes<T>], g[kLanes<T>], m1[kLanes<T>], m2[kLanes<T>];
  load_vector(parameter + first, left, aligned, x);
  load_vector(gradient + first, left, aligned, g);
  load_vector(m + first, left, aligned, m1);
  load_vector(v + first, left, aligned, m2);
  SIGMA_UNROLL
  for (int l = 0; l < kLanes<T>; ++l) {
    m1[l] += o.take1 * (g[l] - m1[l]);
    m2[l] = o.beta2 * m2[l] + o.take2 * (g[l] * g[l]);
    x[l] = o.keep * x[l] - o.rate * (m1[l] / (sqrt(m2[l]) / o.root + o.eps));
  }
  store_vector(m + first, left, aligned, m1);
  store_vector(v + first, left, aligned, m2);
  store_vector(parameter + first, left, aligned, x);
}

// PyTorch's SGD: coupled weight decay, momentum without dampening.
template <class T>
struct Sgd {
  T rate;
  T decay;
  T momentum;
  bool first;  // the momentum buffer starts as the gradient
};

// `buffer` is null where there is no momentum.
template <class T>
__global__ void __launch_bounds__(256)
    sgd_kernel(Sgd<T> o, int64_t count, T* parameter, const T* gradient, T* buffer, bool aligned) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kLanes<T>;
  if (first >= count) return;
  const int left = count - first < kLanes<T> ? static_cast<int>(count - first) : kLanes<T>;
  T x[kLanes<T>], step[kLanes<T>];
  load_vector(parameter + first, left, aligned, x);
  load_vector(gradient + first, left, aligned, step);
  SIGMA_UNROLL
  for (int l = 0; l < kLanes<T>; ++l) step[l] += o.decay * x[l];
  if (buffer != nullptr) {
    if (!o.first) {
      T before[kLanes<T>];
      load_vector(static_cast<const T*>(buffer) + first, left, aligned, before);
      SIGMA_UNROLL
      for (int l = 0; l < kLanes<T>; ++l) step[l] += o.momentum * before[l];
    }
    store_vector(buffer + first, left, aligned, step);
  }
  SIGMA_UNROLL
  for (int l = 0; l < kLanes<T>; ++l) x[l] -= o.rate * step[l];
  store_vector(parameter + first, left, aligned, x);
}

}  // namespace sigma::cuda
