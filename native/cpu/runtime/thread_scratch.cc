// One block of memory per thread, freed when the thread ends. Uses the system's keys, which report a lack of memory: a
// thread_local object with a destructor would abort the process.
#include "cpu/runtime/thread_scratch.h"

#include <cstddef>

#include "cpu/runtime/memory.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <pthread.h>
#endif

namespace sigma::cpu {
namespace {

#if defined(_WIN32)

struct Key {
  DWORD key = FlsAlloc([](void* memory) { release(memory); });
  bool made = key != FLS_OUT_OF_INDEXES;

  void* get() const { return FlsGetValue(key); }
  bool set(void* memory) const { return FlsSetValue(key, memory) != 0; }
};

#else

struct Key {
  pthread_key_t key{};
  bool made = pthread_key_create(&key, release) == 0;

  void* get() const { return pthread_getspecific(key); }
  bool set(void* memory) const { return pthread_setspecific(key, memory) == 0; }
};

#endif

const Key& scratch_key() {
  static const Key key;
  return key;
}

constinit thread_local size_t scratch_size = 0;

}  // namespace

void* thread_scratch(size_t bytes) noexcept {
  const Key& key = scratch_key();
  if (!key.made) return nullptr;
  void* const known = key.get();
  if (known != nullptr && scratch_size >= bytes) return known;
  release(known);
  scratch_size = bytes;
  void* memory = allocate_aligned(bytes);
  if (key.set(memory)) return memory;
  release(memory);
  return nullptr;
}

}  // namespace sigma::cpu
