// Memory from the system, aligned to a cache line.
#pragma once

#include <cstddef>

namespace sigma::cpu {

constexpr size_t kCacheLine = 64;

// At least `bytes` bytes, uninitialised, aligned to a cache line; null if there is no memory. Small blocks are not
// aligned, because malloc is faster.
void* allocate(size_t bytes) noexcept;
// The same, aligned whatever the size.
void* allocate_aligned(size_t bytes) noexcept;
// Frees what either of them returned; null is a no-op.
void release(void* memory) noexcept;
// Gives the pages of released memory back to the system. glibc keeps them otherwise: hundreds of megabytes after large
// decompositions.
void trim_heap() noexcept;

}  // namespace sigma::cpu
