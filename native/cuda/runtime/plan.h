// How an operation is laid out on a device: pure functions of its shape, and of the device where that changes no bit of
// the result.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace sigma::cuda {

constexpr int64_t kVectorBytes = 16;

constexpr int64_t divided_up(int64_t count, int64_t by) { return (count + by - 1) / by; }

// The vectors of 16 bytes that a block should hold of each of `rows` rows in shared memory, so that the `entries` of a
// pattern gather there and not through the second-level cache; 0 where gathers through the cache are better.
//
// Wide slabs read the entries less often. But the slabs must fit, and be at least `least_blocks` to keep the device
// busy; and rows with few entries gain nothing over one more pass.
inline int slab_vectors(int64_t rows, int64_t entries, int64_t tokens, int64_t element_bytes, size_t shared_bytes,
                        int64_t least_blocks) {
  constexpr int64_t kLeastEntries = 4;
  if (entries < kLeastEntries * rows) return 0;
  for (const int vectors : {4, 2, 1}) {
    const bool fits = rows * vectors * kVectorBytes <= static_cast<int64_t>(shared_bytes);
    const int64_t slab_tokens = vectors * kVectorBytes / element_bytes;
    if (fits && divided_up(tokens, slab_tokens) >= least_blocks) return vectors;
  }
  return 0;
}

// How a sum over `length` tokens is split: every split but the last has `size` of them.
struct Split {
  int64_t count;
  int64_t size;
};

// `units` is what the kernel could do side by side without splits, `granule` what a split's size must be a multiple of,
// `least` the size below which a split does not pay. Partial sums are held of `outputs` numbers for every split.
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
