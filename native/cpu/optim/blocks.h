// Runs optimiser steps on the pool, block by block.
#pragma once

#include <algorithm>

#include "cpu/runtime/pool.h"

namespace sigma::cpu {

constexpr int64_t kBlock = int64_t{1} << 15;

template <class Body>
void for_each_block(int64_t count, const Body& body) {
  parallel_for(blocks(count, kBlock), [&](int64_t block) {
    const int64_t begin = block * kBlock;
    body(begin, std::min(kBlock, count - begin));
  });
}

}  // namespace sigma::cpu
