#include "cpu/runtime/thread.h"

#include <algorithm>
#include <cstddef>

#if defined(_WIN32)
#include <windows.h>
#else
#include <pthread.h>
#endif

namespace sigma::cpu {
namespace {

// More than LAPACK and the kernels need. The default is 8 MB with glibc, but 128 KB with musl and 512 KB on macOS.
constexpr size_t kLeastStack = size_t{2} << 20;

}  // namespace

#if defined(_WIN32)

bool start_thread(ThreadResult (*body)(void*), void* argument) noexcept {
  const HANDLE thread = CreateThread(nullptr, kLeastStack, body, argument, STACK_SIZE_PARAM_IS_A_RESERVATION, nullptr);
  return thread != nullptr && CloseHandle(thread) != 0;
}

#else

bool start_thread(ThreadResult (*body)(void*), void* argument) noexcept {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  size_t stack = 0;
  pthread_attr_getstacksize(&attributes, &stack);
  pthread_attr_setstacksize(&attributes, std::max(stack, kLeastStack));
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_t thread{};
  const bool started = pthread_create(&thread, &attributes, body, argument) == 0;
  pthread_attr_destroy(&attributes);
  return started;
}

#endif

}  // namespace sigma::cpu
