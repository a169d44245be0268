// One block of memory per thread, freed when the thread ends. Uses a pthread key, which reports a lack of memory: a
// thread_local object with a destructor would abort the process.
#include "cpu/runtime/thread_scratch.h"

#include <pthread.h>

#include <cstddef>
#include <cstdlib>

#include "cpu/runtime/columns.h"

namespace sigma::cpu {
namespace {

struct Key {
  pthread_key_t key{};
  bool made = pthread_key_create(&key, std::free) == 0;
};

const Key& scratch_key() {
  static const Key key;
  return key;
}

constinit thread_local size_t scratch_size = 0;

}  // namespace

void* thread_scratch(size_t bytes) noexcept {
  const Key& key = scratch_key();
  if (!key.made) return nullptr;
  void* const known = pthread_getspecific(key.key);
  if (known != nullptr && scratch_size >= bytes) return known;
  std::free(known);
  scratch_size = bytes;
  void* memory = std::aligned_alloc(kCacheLine, bytes);
  if (pthread_setspecific(key.key, memory) == 0) return memory;
  std::free(memory);
  return nullptr;
}

}  // namespace sigma::cpu
