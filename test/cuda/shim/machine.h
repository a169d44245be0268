// Simulates a CUDA device on one host thread, one block after the other. A CUDA thread runs until it waits at a barrier
// or in a warp collective, and resumes when all participants have arrived. Undefined behaviour (a barrier that some
// thread never reaches, a collective that some lanes of the mask never reach) is a Fault. A thread that never waits
// needs no stack switch.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "fiber.h"

namespace sigma::cuda::shim {

// A use of the device that is undefined or an error in CUDA.
struct Fault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct Options {
  bool barriers = true;  // false: barriers do nothing, so that tests can show that they detect this
  unsigned shuffle = 0;  // not 0: seed of a random order of blocks, and of threads within a block
};
inline thread_local Options options;

constexpr unsigned kWarp = 32;
constexpr unsigned char kPoison = 0xFF;  // a NaN in every floating-point type

enum class Wait : unsigned char { unstarted, ready, barrier, warp, done };

struct Thread {
  uint3 index = {};
  Wait wait = Wait::unstarted;
  const char* collective = "";
  unsigned mask = 0;
  Fiber* fiber = nullptr;
};

// The values that the lanes of a warp exchange.
struct Exchange {
  uint64_t given[kWarp];
  uint64_t taken[kWarp];  // snapshot of `given` when the last lane has arrived
};

class Machine {
 public:
  using Body = void (*)(void*);

  void run(dim3 grid, dim3 block, size_t shared_bytes, Body body, void* argument);

  // ── called by the threads of a kernel ──────────────────────────────────────────────────────────────────

  const uint3& thread_index() const { return threads_[current_].index; }
  const uint3& block_index() const { return block_index_; }
  const dim3& block_size() const { return block_size_; }
  const dim3& grid_size() const { return grid_size_; }
  void* shared() const { return shared_; }
  unsigned lane() const { return static_cast<unsigned>(current_ % kWarp); }

  void barrier() {
    threads_[current_].wait = Wait::barrier;
    if (++at_barrier_ < threads_.size()) return leave();
    at_barrier_ = 0;
    for (Thread& thread : threads_) thread.wait = Wait::ready;
  }

  // Exchanges `value` with the lanes of `mask`; returns the values of all lanes.
  const uint64_t* collect(const char* collective, unsigned mask, uint64_t value) {
    Thread& self = threads_[current_];
    const size_t first = current_ / kWarp * kWarp;
    Exchange& exchange = exchanges_[current_ / kWarp];
    if ((mask >> lane() & 1) == 0) throw Fault(std::string(collective) + " by a lane that its mask leaves out");
    exchange.given[lane()] = value;
    self.wait = Wait::warp;
    self.collective = collective;
    self.mask = mask;
    bool complete = true;
    for (unsigned other = 0; other < kWarp; ++other) {
      if ((mask >> other & 1) == 0) continue;
      if (first + other >= threads_.size()) throw Fault(std::string(collective) + " with lanes that do not exist");
      const Thread& thread = threads_[first + other];
      complete = complete && thread.wait == Wait::warp;
      if (thread.wait == Wait::warp && (thread.mask != mask || !same(thread.collective, collective))) {
        throw Fault("lanes of one warp meet in " + std::string(collective) + " and in " + thread.collective +
                    ", or with two masks");
      }
    }
    if (!complete) {
      leave();
    } else {
      for (unsigned other = 0; other < kWarp; ++other) {
        if ((mask >> other & 1) == 0) continue;
        exchange.taken[other] = exchange.given[other];
        threads_[first + other].wait = Wait::ready;
      }
    }
    return exchange.taken;
  }

 private:
  // Compares texts; most often both are the same literal.
  static bool same(const char* a, const char* b) { return a == b || std::strcmp(a, b) == 0; }
  void leave() { switch_fiber(threads_[current_].fiber->state, driver_); }
  void resume(size_t thread) {
    current_ = thread;
    switch_fiber(driver_, threads_[thread].fiber->state);
    if (!fault_.empty()) throw Fault(where() + fault_);
  }
  std::string where() const {
    const auto text = [](uint3 i) {
      return "(" + std::to_string(i.x) + ", " + std::to_string(i.y) + ", " + std::to_string(i.z) + ")";
    };
    return "block " + text(block_index_) + ", thread " + text(threads_[current_].index) + ": ";
  }

  static void fiber_main(void* machine) { static_cast<Machine*>(machine)->run_threads(); }
  void run_threads();
  void run_block();
  void start_threads();
  [[noreturn]] void report_deadlock();
  Fiber* idle_fiber();

  dim3 grid_size_, block_size_;
  uint3 block_index_ = {};
  Body body_ = nullptr;
  void* argument_ = nullptr;
  unsigned char* shared_ = nullptr;

  std::vector<Thread> threads_;
  std::vector<Exchange> exchanges_;
  std::vector<size_t> order_;  // order in which threads start
  size_t started_ = 0;         // threads started so far
  size_t at_barrier_ = 0;
  size_t current_ = 0;
  std::string fault_;

  FiberState driver_;
  std::vector<std::unique_ptr<Fiber>> fibers_;
  std::vector<Fiber*> idle_;
};

// One per host thread, so that several may simulate at the same time.
inline Machine& machine() {
  thread_local Machine machine;
  return machine;
}

// The main function of a fiber: runs unstarted threads, one after the other.
inline void Machine::run_threads() {
  for (;;) {
    Fiber* const self = threads_[current_].fiber;
    for (;;) {
      try {
        body_(argument_);
      } catch (const std::exception& error) {
        fault_ = error.what();
      }
      threads_[current_].wait = Wait::done;
      if (!fault_.empty() || started_ == order_.size()) break;
      current_ = order_[started_++];
      threads_[current_].fiber = self;
      threads_[current_].wait = Wait::ready;
    }
    idle_.push_back(self);
    switch_fiber(self->state, driver_);
  }
}

inline Fiber* Machine::idle_fiber() {
  if (idle_.empty()) {
    fibers_.push_back(std::make_unique<Fiber>());
    fibers_.back()->prepare(fiber_main, this, driver_);
    return fibers_.back().get();
  }
  Fiber* const fiber = idle_.back();
  idle_.pop_back();
  return fiber;
}

inline void Machine::start_threads() {
  while (started_ < order_.size()) {
    const size_t thread = order_[started_++];
    threads_[thread].fiber = idle_fiber();
    threads_[thread].wait = Wait::ready;
    resume(thread);
  }
}

inline void Machine::run_block() {
  for (Thread& thread : threads_) thread.wait = Wait::unstarted;
  started_ = 0;
  at_barrier_ = 0;
  start_threads();
  for (;;) {
    bool progress = false;
    bool finished = true;
    for (const size_t thread : order_) {
      if (threads_[thread].wait == Wait::ready) {
        resume(thread);
        progress = true;
      }
      finished = finished && threads_[thread].wait == Wait::done;
    }
    if (finished) return;
    if (!progress) report_deadlock();
  }
}

inline void Machine::report_deadlock() {
  size_t waiting = 0;
  size_t done = 0;
  const Thread* in_warp = nullptr;
  for (size_t t = 0; t < threads_.size(); ++t) {
    waiting += threads_[t].wait == Wait::barrier;
    done += threads_[t].wait == Wait::done;
    if (threads_[t].wait == Wait::warp && in_warp == nullptr) {
      in_warp = &threads_[t];
      current_ = t;
    }
    if (threads_[t].wait == Wait::barrier && in_warp == nullptr) current_ = t;
  }
  throw Fault(where() + "deadlock: " + std::to_string(waiting) + " threads wait at a barrier, " + std::to_string(done) +
              " have ended" +
              (in_warp != nullptr ? std::string(", and some wait in ") + in_warp->collective : std::string()));
}

inline void Machine::run(dim3 grid, dim3 block, size_t shared_bytes, Body body, void* argument) {
  const size_t size = size_t{block.x} * block.y * block.z;
  const size_t blocks = size_t{grid.x} * grid.y * grid.z;
  if (size == 0 || size > 1024 || block.z > 64) throw Fault("a block of " + std::to_string(size) + " threads");
  if (blocks == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) throw Fault("a grid out of range");
  if (shared_bytes > (size_t{227} << 10)) throw Fault("more shared memory than any device has");

  // Exactly as large as requested, so that the address sanitizer detects accesses outside.
  constexpr std::align_val_t kAlignment{1024};
  const auto free = [](unsigned char* memory) { ::operator delete(memory, kAlignment); };
  const std::unique_ptr<unsigned char, decltype(free)> shared(
      static_cast<unsigned char*>(::operator new(std::max<size_t>(shared_bytes, 1), kAlignment)), free);

  grid_size_ = grid;
  block_size_ = block;
  body_ = body;
  argument_ = argument;
  shared_ = shared.get();
  threads_.assign(size, Thread{});
  exchanges_.resize((size + kWarp - 1) / kWarp);
  order_.resize(size);
  std::iota(order_.begin(), order_.end(), size_t{0});
  for (size_t t = 0; t < size; ++t) {
    const auto linear = static_cast<unsigned>(t);
    threads_[t].index = {linear % block.x, linear / block.x % block.y, linear / (block.x * block.y)};
  }
  std::vector<size_t> block_order(options.shuffle != 0 ? blocks : 0);
  std::iota(block_order.begin(), block_order.end(), size_t{0});
  std::mt19937_64 generator(options.shuffle);
  std::shuffle(block_order.begin(), block_order.end(), generator);

  try {
    for (size_t b = 0; b < blocks; ++b) {
      const size_t linear = options.shuffle != 0 ? block_order[b] : b;
      block_index_ = {static_cast<unsigned>(linear % grid.x), static_cast<unsigned>(linear / grid.x % grid.y),
                      static_cast<unsigned>(linear / grid.x / grid.y)};
      if (options.shuffle != 0) std::shuffle(order_.begin(), order_.end(), generator);
      std::memset(shared_, kPoison, shared_bytes);
      run_block();
    }
  } catch (...) {
    // Fibers may be suspended inside a thread, so none of them is reused.
    idle_.clear();
    fibers_.clear();
    fault_.clear();
    throw;
  }
}

}  // namespace sigma::cuda::shim
