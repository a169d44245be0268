// One step of an optimiser, in place: updates the parameter (count) and the moments.
//
// A thread takes one vector of 16 bytes of each array.
#pragma once

#include "cuda/runtime/kernels/tile.cuh"

namespace sigma::cuda {

// Loshchilov and Hutter 2019.
template <class T>
struct AdamW {
  T keep;  // 1 - lr weight_decay
  T rate;  // lr / (1 - beta1^step)
  T beta1;
  T take1;  // 1 - beta1
  T beta2;
  T take2;      // 1 - beta2
  T corrected;  // 1 / sqrt(1 - beta2^step)
  T eps;        // at least the smallest normal number, so that 0 / 0 is 0
};

// sqrt(beta2 before² + take2 g²), scaled by a power of 2 so that squares neither overflow nor underflow.
template <class T>
__device__ __forceinline__ T moving_root(const AdamW<T>& o, T before, T g) {
  constexpr bool kSingle = sizeof(T) == 4;
  constexpr T kLarge = kSingle ? static_cast<T>(0x1p40) : static_cast<T>(0x1p400);
  constexpr T kSmall = kSingle ? static_cast<T>(0x1p-40) : static_cast<T>(0x1p-400);
  constexpr T kUp = kSingle ? static_cast<T>(0x1p90) : static_cast<T>(0x1p700);
  constexpr T kDown = kSingle ? static_cast<T>(0x1p-90) : static_cast<T>(0x1p-700);
  const T size = g < 0 ? -g : g;
  const T largest = before > size ? before : size;
  const T scale = largest > kLarge ? kDown : largest < kSmall ? kUp : 1;
  const T unscale = largest > kLarge ? kUp : largest < kSmall ? kDown : 1;
  const T x = scale * before;
  const T y = scale * g;
  return unscale * sqrt(o.beta2 * (x * x) + o.take2 * (y * y));
}

template <class T>
__global__ void __launch_bounds__(256)
    adamw_kernel(AdamW<T> o, int64_t count, T* parameter, const T* gradient, T* m, T* v, bool aligned) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kPerVector<T>;
  if (first >= count) return;
  const int left = count - first < kPerVector<T> ? static_cast<int>(count - first) : kPerVector<T>;
  T x[kPerVector<T>], g[kPerVector<T>], m1[kPerVector<T>], m2[kPerVector<T>];
  load_vector(parameter + first, left, aligned, x);
  load_vector(gradient + first, left, aligned, g);
  load_vector(m + first, left, aligned, m1);
  load_vector(v + first, left, aligned, m2);
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) {
    m1[l] = o.beta1 * m1[l] + o.take1 * g[l];
    m2[l] = moving_root(o, m2[l], g[l]);
    x[l] = o.keep * x[l] - o.rate * (m1[l] / (m2[l] * o.corrected + o.eps));
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

// `buffer` is null if there is no momentum.
template <class T>
__global__ void __launch_bounds__(256)
    sgd_kernel(Sgd<T> o, int64_t count, T* parameter, const T* gradient, T* buffer, bool aligned) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) * kPerVector<T>;
  if (first >= count) return;
  const int left = count - first < kPerVector<T> ? static_cast<int>(count - first) : kPerVector<T>;
  T x[kPerVector<T>], step[kPerVector<T>];
  load_vector(parameter + first, left, aligned, x);
  load_vector(gradient + first, left, aligned, step);
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) step[l] += o.decay * x[l];
  if (buffer != nullptr) {
    if (!o.first) {
      T before[kPerVector<T>];
      load_vector(static_cast<const T*>(buffer) + first, left, aligned, before);
      SIGMA_UNROLL
      for (int l = 0; l < kPerVector<T>; ++l) step[l] += o.momentum * before[l];
    }
    store_vector(buffer + first, left, aligned, step);
  }
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) x[l] -= o.rate * step[l];
  store_vector(parameter + first, left, aligned, x);
}

}  // namespace sigma::cuda
