#include "cpu/runtime/memory.h"

#include <algorithm>
#include <cstdlib>

#include "contract/huge_pages.h"

#if defined(_WIN32) || defined(__GLIBC__)
#include <malloc.h>
#endif

namespace sigma::cpu {

void* allocate_aligned(size_t bytes) noexcept {
  if (bytes > static_cast<size_t>(-1) - kCacheLine) return nullptr;
  const size_t rounded = (std::max<size_t>(1, bytes) + kCacheLine - 1) / kCacheLine * kCacheLine;
#if defined(_WIN32)
  return _aligned_malloc(rounded, kCacheLine);
#else
  void* const memory = std::aligned_alloc(kCacheLine, rounded);
  prefer_huge_pages(memory, rounded);
  return memory;
#endif
}

void* allocate(size_t bytes) noexcept {
#if !defined(_WIN32)  // There aligned memory has a function of its own that frees it.
  constexpr size_t kSmall = 1024;
  if (bytes < kSmall) return std::malloc(std::max<size_t>(1, bytes));
#endif
  return allocate_aligned(bytes);
}

void release(void* memory) noexcept {
#if defined(_WIN32)
  _aligned_free(memory);
#else
  std::free(memory);
#endif
}

void trim_heap() noexcept {
#if defined(__GLIBC__)
  malloc_trim(/* pad = */ 0);
#endif
}

}  // namespace sigma::cpu
