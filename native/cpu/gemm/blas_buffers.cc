#include "cpu/gemm/blas_buffers.h"

#if defined(SIGMA_WRAP_OPENBLAS)

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

#include "cpu/runtime/memory.h"

namespace sigma::cpu {
namespace {

// The limit of pool threads (see pool.cc). Further callers wait.
constexpr int kMost = 256;

enum State : uint32_t { kFree, kHeld };

struct alignas(kCacheLine) Buffer {
  std::atomic<uint32_t> state;
  std::atomic<bool> touched;  // since the pages were last counted
  std::atomic<size_t> bytes;  // of its pages, when they were last counted
  void* memory;

  // Sequentially consistent, like the store in give_back, which explains why.
  bool take() {
    uint32_t expected = kFree;
    return state.load(std::memory_order_relaxed) == kFree && state.compare_exchange_strong(expected, kHeld);
  }
};

constinit Buffer buffers[kMost] = {};
constinit std::atomic<int> mapped = 0;
constinit std::atomic<int> waiting = 0;
std::mutex mutex;  // guards waiting and mapping
std::condition_variable given_back;

// The buffer that this thread holds; `lent` while OpenBLAS uses it. `index` persists: a thread prefers its previous
// buffer, which may still be in cache.
struct Holding {
  void* memory;
  int index;
  bool lent;
};
constinit thread_local Holding holding = {};

// The caller holds the mutex.
bool map_another() {
  const int index = mapped.load();
  if (index == kMost) return false;
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* const memory = mmap(nullptr, kBlasBufferBytes, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (memory == MAP_FAILED) return false;
  buffers[index].memory = memory;
  mapped.store(index + 1);
  return true;
}

int take_free() {
  const int count = mapped.load();
  for (int i = 0; i < count; ++i) {
    if (buffers[i].take()) return i;
  }
  return -1;
}

int take_waiting() {
  std::unique_lock lock(mutex);
  struct Waiting {
    Waiting() { ++waiting; }
    ~Waiting() { --waiting; }
  } const here;
  for (;;) {
    int index = take_free();
    if (index < 0 && map_another()) index = take_free();
    if (index >= 0) return index;
    if (mapped.load() == 0) throw std::bad_alloc();
    given_back.wait(lock);
  }
}

// No lost wake-up: this thread frees the buffer before it reads `waiting`, and a waiter increments `waiting` before it
// looks for a free buffer. Sequential consistency guarantees that at least one of them sees the other.
void give_back(int index) {
  buffers[index].state.store(kFree);
  if (waiting.load() == 0) return;
  const std::lock_guard lock(mutex);
  given_back.notify_one();
}

// Bytes of the pages of a buffer that take memory.
size_t resident_bytes(void* memory) noexcept {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  constexpr size_t kPages = 4096;
  unsigned char resident[kPages];
  size_t count = 0;
  for (size_t begin = 0; begin < kBlasBufferBytes; begin += kPages * page) {
    const size_t bytes = std::min(kPages * page, kBlasBufferBytes - begin);
    if (mincore(static_cast<std::byte*>(memory) + begin, bytes, resident) != 0) return count * page;
    for (size_t i = 0; i < bytes / page; ++i) count += resident[i] & 1u;
  }
  return count * page;
}

}  // namespace

void reserve_blas_buffer() {
  if (mapped.load(std::memory_order_relaxed) > 0) return;
  const std::lock_guard lock(mutex);
  if (mapped.load() == 0 && !map_another()) throw std::bad_alloc();
}

size_t blas_buffer_bytes() noexcept {
  size_t sum = 0;
  for (int i = 0; i < mapped.load(std::memory_order_acquire); ++i) {
    Buffer& buffer = buffers[i];
    if (buffer.touched.exchange(false)) buffer.bytes.store(resident_bytes(buffer.memory));
    sum += buffer.bytes.load();
  }
  return sum;
}

void trim_blas_buffers() noexcept {
  for (int i = 0; i < mapped.load(std::memory_order_acquire); ++i) {
    Buffer& buffer = buffers[i];
    if (!buffer.take()) continue;
    if (madvise(buffer.memory, kBlasBufferBytes, MADV_DONTNEED) == 0) {
      buffer.touched.store(false);
      buffer.bytes.store(0);
    }
    give_back(i);
  }
}

BlasCall::BlasCall() {
  const bool again = holding.index < mapped.load(std::memory_order_acquire) && buffers[holding.index].take();
  if (!again) holding.index = take_waiting();
  holding.memory = buffers[holding.index].memory;
}

BlasCall::~BlasCall() {
  holding.memory = nullptr;
  buffers[holding.index].touched.store(true, std::memory_order_relaxed);
  give_back(holding.index);
}

}  // namespace sigma::cpu

// OpenBLAS's own allocator serves a second buffer within a call, and a buffer outside of any BlasCall. No routine that
// the backend calls needs either.
extern "C" {

void* __real_blas_memory_alloc(int position);
void __real_blas_memory_free(void* memory);

void* __wrap_blas_memory_alloc(int position) {
  auto& held = sigma::cpu::holding;
  if (held.memory == nullptr || held.lent) return __real_blas_memory_alloc(position);
  held.lent = true;
  return held.memory;
}

void __wrap_blas_memory_free(void* memory) {
  auto& held = sigma::cpu::holding;
  if (memory == held.memory) {
    held.lent = false;
  } else {
    __real_blas_memory_free(memory);
  }
}
}

#endif
