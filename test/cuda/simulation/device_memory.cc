#include "device_memory.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>

#include "counts.h"
#include "misuse.h"
#include "queue.h"

namespace sigma::simulation {
namespace {

constexpr size_t kGuard = 256;
constexpr size_t kAlignment = 256;
constexpr unsigned char kGuardByte = 0xC3;
constexpr unsigned char kRubbish = 0xA5;

struct Allocation {
  size_t bytes;
  bool pooled;
  bool freed;          // later calls must not use it, but work queued before still may
  const void* stream;  // on which it was freed
};

struct Allocations {
  std::mutex mutex;
  std::map<uintptr_t, Allocation> live;
  std::map<const void*, size_t> pending;  // bytes freed on a stream, but not yet
  size_t used = 0;                        // bytes of all of them
  size_t cached = 0;                      // bytes that the pool keeps
};

Allocations& allocations() {
  static Allocations& all = *new Allocations;
  return all;
}

uintptr_t address(const void* memory) { return reinterpret_cast<uintptr_t>(memory); }

size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The allocation that contains `memory`. The caller holds the lock.
std::map<uintptr_t, Allocation>::iterator allocation_of(const void* memory) {
  auto& live = allocations().live;
  auto next = live.upper_bound(address(memory));
  if (next == live.begin()) return live.end();
  --next;
  if (next->second.freed && !is_running()) return live.end();
  return address(memory) < next->first + next->second.bytes ? next : live.end();
}

// The caller holds the lock.
size_t unheld() {
  const size_t size = memory_size(), held = allocations().used + allocations().cached;
  return held < size ? size - held : 0;
}

// Takes `bytes` from the pool, or grows it. The caller holds the lock.
bool take(size_t bytes, const void* stream) {
  Allocations& all = allocations();
  if (stream == nullptr) return bytes <= unheld();
  all.cached = std::min(all.cached, all.used < memory_size() ? memory_size() - all.used : 0);  // a test may shrink it
  const size_t reusable = all.cached + all.pending[stream];
  if (bytes > reusable && bytes - reusable > unheld()) return false;
  if (bytes > reusable) ++counts().growths;
  const size_t from_cache = std::min(bytes, all.cached);
  all.cached -= from_cache;
  const size_t from_pending = std::min(bytes - from_cache, all.pending[stream]);
  all.pending[stream] -= from_pending;
  all.used -= from_pending;
  return true;
}

}  // namespace

size_t memory_size() { return static_cast<size_t>(setting("SIGMA_SIMULATED_MEMORY", 16LL << 30)); }

size_t memory_free() {
  const std::lock_guard lock(allocations().mutex);
  return unheld();
}

void* allocate_device(size_t bytes, const void* stream) {
  Allocations& all = allocations();
  ++counts().allocations;
  const std::lock_guard lock(all.mutex);
  if (!take(bytes, stream)) return nullptr;
  void* const start = std::aligned_alloc(kAlignment, kGuard + padded(bytes) + kGuard);
  require(start != nullptr, "allocate", "expected enough memory of the host");
  auto* const memory = static_cast<unsigned char*>(start) + kGuard;
  std::memset(start, kGuardByte, kGuard);
  std::memset(memory + bytes, kGuardByte, padded(bytes) - bytes + kGuard);
  all.live[address(memory)] = {bytes, stream != nullptr, false, nullptr};
  all.used += bytes;
  return memory;
}

bool poisons() {
  static const bool wanted = setting("SIGMA_SIMULATED_POISON", 1) != 0;
  return wanted;
}

void poison(void* memory, size_t bytes) {
  if (poisons()) std::memset(memory, kRubbish, bytes);
}

void begin_free(void* memory, const void* stream) {
  Allocations& all = allocations();
  const std::lock_guard lock(all.mutex);
  const auto found = all.live.find(address(memory));
  require(found != all.live.end() && !found->second.freed, "free", "expected a live device allocation");
  found->second.freed = true;
  found->second.stream = stream;
  if (found->second.pooled) all.pending[stream] += found->second.bytes;
}

void end_free(void* memory) {
  Allocations& all = allocations();
  size_t bytes = 0;
  {
    const std::lock_guard lock(all.mutex);
    const auto found = all.live.find(address(memory));
    bytes = found->second.bytes;
    // Part of it may have been allocated again in the meantime.
    size_t& pending = all.pending[found->second.stream];
    const size_t returned = found->second.pooled ? std::min(bytes, pending) : bytes;
    if (found->second.pooled) {
      pending -= returned;
      all.cached += returned;
    }
    all.used -= returned;
    all.live.erase(found);
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

void trim_pool(uint64_t kept) {
  const std::lock_guard lock(allocations().mutex);
  allocations().cached = static_cast<size_t>(std::min<uint64_t>(allocations().cached, kept));
}

void release_pool_above(uint64_t threshold) {
  const std::lock_guard lock(allocations().mutex);
  const uint64_t used = allocations().used;
  allocations().cached =
      static_cast<size_t>(std::min<uint64_t>(allocations().cached, threshold > used ? threshold - used : 0));
}

void require_device(const void* memory, size_t bytes, const char* call) {
  require(sigma_simulated_device_memory(memory, bytes) != 0, call, "expected device memory");
}

void require_host(const void* memory, const char* call) {
  const std::lock_guard lock(allocations().mutex);
  require(allocation_of(memory) == allocations().live.end(), call, "expected host memory, got device memory");
}

}  // namespace sigma::simulation

#pragma GCC visibility push(default)
extern "C" int sigma_simulated_device_memory(const void* memory, size_t bytes) {
  using namespace sigma::simulation;
  const std::lock_guard lock(allocations().mutex);
  const auto found = allocation_of(memory);
  if (found == allocations().live.end()) return bytes == 0 && memory == nullptr ? 1 : 0;
  return address(memory) + bytes <= found->first + found->second.bytes ? 1 : 0;
}

extern "C" size_t sigma_simulated_free_memory() { return sigma::simulation::memory_free(); }
#pragma GCC visibility pop
