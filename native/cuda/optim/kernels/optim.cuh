// One step of an optimiser on many tensors, in place: updates each parameter (count) and its moments.
//
// A thread takes one vector of 16 bytes of each array. A block takes 256 vectors of one tensor.
#pragma once

#include "cuda/runtime/kernels/tile.cuh"

namespace sigma::cuda {

constexpr int kStepThreads = 256;

// A parameter with its gradient and moments. SGD has only `m`, its momentum buffer, or null.
template <class T>
struct StepTensor {
  T* parameter;
  const T* gradient;
  T* m;
  T* v;
  int64_t count;
  unsigned first_block;
  bool aligned;  // whether all arrays are aligned to 16 bytes
};

// Tensors in ascending order of first_block. A kernel's parameter, so `most` is limited: CUDA allows 32,764 bytes.
template <class T, int most>
struct StepTensors {
  int count;
  StepTensor<T> all[most];
};

template <class T, int most>
__device__ __forceinline__ const StepTensor<T>& tensor_of_block(const StepTensors<T, most>& tensors) {
  int low = 0, high = tensors.count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (tensors.all[middle].first_block <= blockIdx.x) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return tensors.all[low];
}

template <class T>
__device__ __forceinline__ int64_t first_of_thread(const StepTensor<T>& tensor) {
  return (static_cast<int64_t>(blockIdx.x - tensor.first_block) * kStepThreads + threadIdx.x) * kPerVector<T>;
}

template <class T>
__device__ __forceinline__ int left_of(const StepTensor<T>& tensor, int64_t first) {
  return tensor.count - first < kPerVector<T> ? static_cast<int>(tensor.count - first) : kPerVector<T>;
}

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

template <class T, int most>
__global__ void __launch_bounds__(kStepThreads)
    adamw_kernel(AdamW<T> o, const SIGMA_IN_PLACE StepTensors<T, most> tensors) {
  const StepTensor<T>& tensor = tensor_of_block(tensors);
  const int64_t first = first_of_thread(tensor);
  if (first >= tensor.count) return;
  const int left = left_of(tensor, first);
  const bool aligned = tensor.aligned;
  T x[kPerVector<T>], g[kPerVector<T>], m1[kPerVector<T>], m2[kPerVector<T>];
  load_vector(static_cast<const T*>(tensor.parameter) + first, left, aligned, x);
  load_vector(tensor.gradient + first, left, aligned, g);
  load_vector(static_cast<const T*>(tensor.m) + first, left, aligned, m1);
  load_vector(static_cast<const T*>(tensor.v) + first, left, aligned, m2);
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) {
    m1[l] = o.beta1 * m1[l] + o.take1 * g[l];
    m2[l] = moving_root(o, m2[l], g[l]);
    x[l] = o.keep * x[l] - o.rate * (m1[l] / (m2[l] * o.corrected + o.eps));
  }
  store_vector(tensor.m + first, left, aligned, m1);
  store_vector(tensor.v + first, left, aligned, m2);
  store_vector(tensor.parameter + first, left, aligned, x);
}

// PyTorch's SGD: coupled weight decay, momentum without dampening.
template <class T>
struct Sgd {
  T rate;
  T decay;
  T momentum;
  T first;  // not 0: the momentum buffer starts as the gradient
};

template <class T, int most>
__global__ void __launch_bounds__(kStepThreads)
    sgd_kernel(Sgd<T> o, const SIGMA_IN_PLACE StepTensors<T, most> tensors) {
  const StepTensor<T>& tensor = tensor_of_block(tensors);
  const int64_t first = first_of_thread(tensor);
  if (first >= tensor.count) return;
  const int left = left_of(tensor, first);
  const bool aligned = tensor.aligned;
  T* const buffer = tensor.m;
  T x[kPerVector<T>], step[kPerVector<T>];
  load_vector(static_cast<const T*>(tensor.parameter) + first, left, aligned, x);
  load_vector(tensor.gradient + first, left, aligned, step);
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) step[l] += o.decay * x[l];
  if (buffer != nullptr) {
    if (o.first == 0) {
      T before[kPerVector<T>];
      load_vector(static_cast<const T*>(buffer) + first, left, aligned, before);
      SIGMA_UNROLL
      for (int l = 0; l < kPerVector<T>; ++l) step[l] += o.momentum * before[l];
    }
    store_vector(buffer + first, left, aligned, step);
  }
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) x[l] -= o.rate * step[l];
  store_vector(tensor.parameter + first, left, aligned, x);
}

}  // namespace sigma::cuda
