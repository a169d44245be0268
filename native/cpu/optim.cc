// Optimiser steps, in place, block by block on the pool.
#include <algorithm>

#include "ops.h"
#include "pool.h"
#include "simd.h"

namespace sigma::cpu {
namespace {

constexpr int64_t kBlock = int64_t{1} << 15;

template <class Body>
void for_each_block(int64_t count, const Body& body) {
  parallel_for(blocks(count, kBlock), [&](int64_t block) {
    const int64_t begin = block * kBlock;
    body(begin, std::min(kBlock, count - begin));
  });
}

}  // namespace

template <class T>
void adamw(const sigma_adamw& options, int64_t count, T* parameter, const T* gradient, T* m, T* v) {
  for_each_block(count, [&](int64_t begin, int64_t size) {
    kernels<T>().adamw(size, &options, parameter + begin, gradient + begin, m + begin, v + begin);
  });
}

template <class T>
void sgd(const sigma_sgd& options, int64_t count, T* parameter, const T* gradient, T* momentum_buffer) {
  for_each_block(count, [&](int64_t begin, int64_t size) {
    kernels<T>().sgd(size, &options, parameter + begin, gradient + begin,
                     momentum_buffer != nullptr ? momentum_buffer + begin : nullptr);
  });
}

template void adamw<float>(const sigma_adamw&, int64_t, float*, const float*, float*, float*);
template void adamw<double>(const sigma_adamw&, int64_t, double*, const double*, double*, double*);
template void sgd<float>(const sigma_sgd&, int64_t, float*, const float*, float*);
template void sgd<double>(const sigma_sgd&, int64_t, double*, const double*, double*);

}  // namespace sigma::cpu
