// Launch configurations: pure functions of the shape, and of the device if the result does not depend on it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace sigma::cuda {

constexpr int64_t kVectorBytes = 16;

constexpr int64_t divided_up(int64_t count, int64_t by) { return (count + by - 1) / by; }

// The width of a slab: how many vectors of 16 bytes of each row a block holds in shared memory, so that the `entries`
// of a pattern gather there and not through the L2 cache. 0 if gathering through the L2 cache is faster.
//
// Wide slabs read the entries less often. But a slab must fit, there must be at least 0.9 `busy_blocks` slabs to keep
// the device busy, and rows with few entries do not repay the copy.
inline int slab_vectors(int64_t rows, int64_t entries, int64_t tokens, int64_t element_bytes, size_t shared_bytes,
                        int64_t busy_blocks) {
  constexpr int64_t kLeastEntries = 4;
  if (entries < kLeastEntries * rows) return 0;
  for (const int vectors : {4, 2, 1}) {
    const bool fits = rows * vectors * kVectorBytes <= static_cast<int64_t>(shared_bytes);
    const int64_t slab_tokens = vectors * kVectorBytes / element_bytes;
    if (fits && 10 * divided_up(tokens, slab_tokens) >= 9 * busy_blocks) return vectors;
  }
  return 0;
}

// How a sum over tokens is split. Every split except the last has `size` tokens.
struct Split {
  int64_t count;
  int64_t size;
};

// `units`: parallel units of work without splits. `granule`: a split's size is a multiple of this. `least`: the
// smallest size that pays. `outputs`: partial sums per split.
inline Split split_of(int64_t length, int64_t units, int64_t wanted_units, int64_t granule, int64_t least,
                      int64_t outputs) {
  constexpr int64_t kMostPartials = int64_t{1} << 25;
  constexpr int64_t kMostSplits = 1024;
  const int64_t some = std::max<int64_t>(length, 1);
  const int64_t wanted = std::min({divided_up(wanted_units, units), divided_up(some, least), kMostSplits,
                                   std::max<int64_t>(1, kMostPartials / outputs)});
  const int64_t size = divided_up(divided_up(some, wanted), granule) * granule;
  return {divided_up(some, size), size};
}

}  // namespace sigma::cuda
