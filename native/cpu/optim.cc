// Optimiser steps, in place, block by block on the pool.
#include <algorithm>

#include "dispatch.h"
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

void adamw(const sigma_adamw& call) {
  for_real(call.real, [&]<class T>() {
    for_each_block(call.count, [&](int64_t begin, int64_t size) {
      kernels<T>().adamw(size, &call, static_cast<T*>(call.parameter) + begin,
                         static_cast<const T*>(call.gradient) + begin, static_cast<T*>(call.m) + begin,
                         static_cast<T*>(call.v) + begin);
    });
  });
}

void sgd(const sigma_sgd& call) {
  for_real(call.real, [&]<class T>() {
    auto* const momentum = static_cast<T*>(call.momentum_buffer);
    for_each_block(call.count, [&](int64_t begin, int64_t size) {
      kernels<T>().sgd(size, &call, static_cast<T*>(call.parameter) + begin,
                       static_cast<const T*>(call.gradient) + begin, momentum != nullptr ? momentum + begin : nullptr);
    });
  });
}

}  // namespace sigma::cpu
