#include "device_memory.h"

#include <cstdint>
#include <cstring>
#include <map>
#include <mutex>

#include "misuse.h"

namespace sigma::simulation {
namespace {

constexpr size_t kGuard = 256;
constexpr size_t kAlignment = 256;
constexpr unsigned char kGuardByte = 0xC3;
constexpr unsigned char kRubbish = 0xA5;

struct Allocations {
  std::mutex mutex;
  std::map<uintptr_t, size_t> sizes;
  size_t used = 0;
};

Allocations& allocations() {
  static Allocations& all = *new Allocations;
  return all;
}

uintptr_t address(const void* memory) { return reinterpret_cast<uintptr_t>(memory); }

size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The allocation that contains `memory`. The caller holds the lock.
std::map<uintptr_t, size_t>::iterator allocation_of(const void* memory) {
  auto& sizes = allocations().sizes;
  auto next = sizes.upper_bound(address(memory));
  if (next == sizes.begin()) return sizes.end();
  --next;
  return address(memory) < next->first + next->second ? next : sizes.end();
}

}  // namespace

size_t memory_size() { return static_cast<size_t>(setting("SIGMA_SIMULATED_MEMORY", 16LL << 30)); }

size_t memory_free() {
  const std::lock_guard lock(allocations().mutex);
  const size_t size = memory_size();
  return allocations().used < size ? size - allocations().used : 0;
}

void* allocate_device(size_t bytes) {
  if (bytes > memory_free()) return nullptr;
  void* const start = std::aligned_alloc(kAlignment, kGuard + padded(bytes) + kGuard);
  if (start == nullptr) return nullptr;
  auto* const memory = static_cast<unsigned char*>(start) + kGuard;
  std::memset(start, kGuardByte, kGuard + padded(bytes) + kGuard);
  std::memset(memory, kRubbish, bytes);
  const std::lock_guard lock(allocations().mutex);
  allocations().sizes[address(memory)] = bytes;
  allocations().used += bytes;
  return memory;
}

void free_device(void* memory) {
  size_t bytes = 0;
  {
    const std::lock_guard lock(allocations().mutex);
    const auto allocation = allocations().sizes.find(address(memory));
    require(allocation != allocations().sizes.end(), "free", "expected a live device allocation");
    bytes = allocation->second;
    allocations().used -= bytes;
    allocations().sizes.erase(allocation);
  }
  auto* const begin = static_cast<unsigned char*>(memory);
  for (size_t i = 0; i < kGuard; ++i) {
    require(begin[-static_cast<ptrdiff_t>(i) - 1] == kGuardByte, "free", "a write before the allocation");
  }
  for (size_t i = bytes; i < padded(bytes) + kGuard; ++i) {
    require(begin[i] == kGuardByte, "free", "a write beyond the allocation");
  }
  std::memset(begin, kRubbish, bytes);
  std::free(begin - kGuard);
}

void require_device(const void* memory, size_t bytes, const char* call) {
  require(sigma_simulated_device_memory(memory, bytes) != 0, call, "expected device memory");
}

void require_host(const void* memory, const char* call) {
  const std::lock_guard lock(allocations().mutex);
  require(allocation_of(memory) == allocations().sizes.end(), call, "expected host memory, got device memory");
}

}  // namespace sigma::simulation

extern "C" __attribute__((visibility("default"))) int sigma_simulated_device_memory(const void* memory, size_t bytes) {
  using namespace sigma::simulation;
  const std::lock_guard lock(allocations().mutex);
  const auto allocation = allocation_of(memory);
  if (allocation == allocations().sizes.end()) return bytes == 0 && memory == nullptr ? 1 : 0;
  return address(memory) + bytes <= allocation->first + allocation->second ? 1 : 0;
}
