#include "cpu/runtime/scratch.h"

#include <atomic>
#include <cstddef>

#include "cpu/runtime/memory.h"

namespace sigma::cpu {
namespace {

// As many as there may be pool threads (see pool.cc). Memory of further holders is not kept.
constexpr int kMost = 256;

struct alignas(kCacheLine) Block {
  std::atomic<bool> held;
  // Guarded by `held`.
  void* memory;
  size_t bytes;

  bool take() { return !held.load(std::memory_order_relaxed) && !held.exchange(true, std::memory_order_acquire); }
  void give_back() { held.store(false, std::memory_order_release); }

  void free() {
    release(memory);
    count_scratch(-static_cast<std::ptrdiff_t>(bytes));
    memory = nullptr;
    bytes = 0;
  }
  void ensure(size_t wanted) {
    if (bytes >= wanted) return;
    free();
    memory = allocate_aligned(wanted);
    if (memory == nullptr) return;
    bytes = wanted;
    count_scratch(static_cast<std::ptrdiff_t>(wanted));
  }
};

constinit Block all[kMost] = {};
constinit std::atomic<std::ptrdiff_t> counted = 0;
constinit thread_local int previous = 0;

int take_block() {
  if (all[previous].take()) return previous;
  for (int i = 0; i < kMost; ++i) {
    if (all[i].take()) return previous = i;
  }
  return -1;
}

}  // namespace

Scratch::Scratch(size_t bytes) noexcept : block_(take_block()) {
  if (block_ < 0) {
    memory_ = allocate_aligned(bytes);
    return;
  }
  all[block_].ensure(bytes);
  memory_ = all[block_].memory;
}

Scratch::~Scratch() {
  if (block_ < 0) {
    release(memory_);
  } else {
    // The first of several that one thread holds is given back last, and the next call's first should have it.
    previous = block_;
    all[block_].give_back();
  }
}

void count_scratch(std::ptrdiff_t bytes) noexcept { counted.fetch_add(bytes, std::memory_order_relaxed); }

size_t scratch_bytes() noexcept { return static_cast<size_t>(counted.load(std::memory_order_relaxed)); }

void trim_scratch() noexcept {
  for (Block& block : all) {
    if (!block.take()) continue;
    block.free();
    block.give_back();
  }
}

}  // namespace sigma::cpu
