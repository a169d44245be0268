// Fibers: stacks of their own that one host thread changes between, known to the address sanitizer.
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

// A place to come back to: a fiber's, or that of the host thread which drives the fibers.
struct Place {
  Stack left = {};
  const void* stack = nullptr;
  size_t stack_size = 0;
  void* sanitizer = nullptr;
};

// Goes on at `to`; returns when something goes back to `from`.
inline void switch_place(Place& from, Place& to) {
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
  // Above an unreadable page, so that an overflow is seen.
  Fiber() {
    memory_ = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    mprotect(memory_, kGuard, PROT_NONE);
    place.stack = static_cast<std::byte*>(memory_) + kGuard;
    place.stack_size = kStack;
  }
  ~Fiber() {
    forget();
    munmap(memory_, kGuard + kStack);
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Will run entry(argument) from its beginning, which must never return. `driver` is where the first switch comes
  // from.
  void prepare(void (*entry)(void*), void* argument, Place& driver) {
    forget();
    entry_ = entry;
    argument_ = argument;
    driver_ = &driver;
    make_stack(place.left, const_cast<void*>(place.stack), place.stack_size, start, this);
    place.sanitizer = nullptr;
#if defined(__SANITIZE_THREAD__)
    place.sanitizer = __tsan_create_fiber(0);
#endif
  }

  Place place;

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

  // What an abandoned run left behind.
  void forget() {
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(place.stack, place.stack_size);
#endif
#if defined(__SANITIZE_THREAD__)
    if (place.sanitizer != nullptr) __tsan_destroy_fiber(place.sanitizer);
#endif
  }

  void* memory_ = nullptr;
  void (*entry_)(void*) = nullptr;
  void* argument_ = nullptr;
  Place* driver_ = nullptr;
};

}  // namespace sigma::cuda::shim
