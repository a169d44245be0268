#include "cpu/gemm/blas_buffers.h"

#if defined(SIGMA_WRAP_OPENBLAS)

#include <sys/mman.h>

#include <atomic>
#include <condition_variable>
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

}  // namespace

void reserve_blas_buffer() {
  if (mapped.load(std::memory_order_relaxed) > 0) return;
  const std::lock_guard lock(mutex);
  if (mapped.load() == 0 && !map_another()) throw std::bad_alloc();
}

BlasCall::BlasCall() {
  const bool again = holding.index < mapped.load(std::memory_order_acquire) && buffers[holding.index].take();
  if (!again) holding.index = take_waiting();
  holding.memory = buffers[holding.index].memory;
}

BlasCall::~BlasCall() {
  holding.memory = nullptr;
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
