// Fibers: separate stacks that one host thread switches between. The sanitizers are informed of each switch.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

#include "stacks.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

namespace sigma::cuda::shim {

// The state of a suspended fiber, or of the host thread that drives the fibers.
struct FiberState {
  Stack left = {};
  const void* stack = nullptr;
  size_t stack_size = 0;
  void* sanitizer = nullptr;
};

// Suspends `from` and resumes `to`; returns when `from` is resumed.
inline void switch_fiber(FiberState& from, FiberState& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.sanitizer, to.stack, to.stack_size);
#endif
#if defined(__SANITIZE_THREAD__)
  from.sanitizer = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(to.sanitizer, 0);
#endif
  switch_stacks(&from.left, &to.left);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(from.sanitizer, nullptr, nullptr);
#endif
}

class Fiber {
 public:
  // The stack lies above a guard page, so that an overflow is detected.
  Fiber() {
    memory_ = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory_, kGuard, PROT_NONE);
    state.stack = static_cast<std::byte*>(memory_) + kGuard;
    state.stack_size = kStack;
  }
  ~Fiber() {
    forget();
    munmap(memory_, kGuard + kStack);
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // The first switch, which must come from `driver`, calls entry(argument). `entry` must never return.
  void prepare(void (*entry)(void*), void* argument, FiberState& driver) {
    forget();
    entry_ = entry;
    argument_ = argument;
    driver_ = &driver;
    make_stack(state.left, const_cast<void*>(state.stack), state.stack_size, start, this);
    state.sanitizer = nullptr;
#if defined(__SANITIZE_THREAD__)
    state.sanitizer = __tsan_create_fiber(0);
#endif
  }

  FiberState state;

 private:
  static constexpr size_t kGuard = 4096;
  static constexpr size_t kStack = size_t{128} << 10;

  static void start(void* fiber) {
    auto* const self = static_cast<Fiber*>(fiber);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &self->driver_->stack, &self->driver_->stack_size);
#endif
    self->entry_(self->argument_);
  }

  // Cleans up after an abandoned run.
  void forget() {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(state.stack, state.stack_size);
#endif
#if defined(__SANITIZE_THREAD__)
    if (state.sanitizer != nullptr) __tsan_destroy_fiber(state.sanitizer);
#endif
  }

  void* memory_ = nullptr;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  FiberState* driver_ = nullptr;
};

}  // namespace sigma::cuda::shim
