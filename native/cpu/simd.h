// The element kernels, compiled once per instruction set from kernels.inc; the best one that the machine has is taken
// when the backend is first used.
#pragma once

#include <cstdint>

#include "backend.h"

namespace sigma::cpu {

// Pointers of one type; every stride counts elements.
template <class T>
struct Kernels {
  // out[t] = d · own[t] + g · Σ_q values[slot(q)] · dense[indices[q] · stride + t], for t < count. `own` may be null
  // for d = 0. slot(q) is slots[q], or q where slots is null.
  void (*gather)(int64_t count, T d, const T* own, T g, int64_t entries, const int32_t* indices, const int32_t* slots,
                 const T* values, const T* dense, int64_t stride, T* out);
  // Σ_t a[t] · b[t] in an order fixed by count.
  T (*dot)(int64_t count, const T* a, const T* b);
  // sums[j] += a[j]
  void (*add)(int64_t count, const T* a, T* sums);
  void (*adamw)(int64_t count, const sigma_adamw* options, T* parameter, const T* gradient, T* m, T* v);
  void (*sgd)(int64_t count, const sigma_sgd* options, T* parameter, const T* gradient, T* momentum_buffer);
};

template <class T>
const Kernels<T>& kernels();

// "baseline", "avx2" or "avx512".
const char* simd_level();

}  // namespace sigma::cpu
