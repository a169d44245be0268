// Transposition on the pool.
#pragma once

#include <algorithm>

#include "cpu/runtime/columns.h"
#include "cpu/runtime/pool.h"

namespace sigma::cpu {

// to = scale aᵀ. A task takes all blocks across the longer side, so that it writes or reads whole rows.
template <class From, class T>
void transpose(const Columns<From>& a, const Columns<T>& to, T scale = 1) {
  const bool tall = a.rows > a.columns;
  parallel_for(blocks(tall ? a.rows : a.columns, kTurned), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTurned;
    for (int next = 0; next < (tall ? a.columns : a.rows); next += kTurned) {
      const int top = tall ? begin : next, left = tall ? next : begin;
      const int height = std::min(kTurned, a.rows - top), width = std::min(kTurned, a.columns - left);
      transpose_block(Columns<From>{a.at(top, left), height, width, a.stride},
                      Columns<T>{to.at(left, top), width, height, to.stride}, scale);
    }
  });
}

}  // namespace sigma::cpu
