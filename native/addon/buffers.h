// Buffers of results that are gone, for later ones of the same size.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <vector>

namespace sigma {

// Weak references alone: V8 collects a buffer that nobody asks for, as if it were not here.
class FreeBuffers {
 public:
  FreeBuffers() { entries_.reserve(kMost); }
  FreeBuffers(const FreeBuffers&) = delete;
  FreeBuffers& operator=(const FreeBuffers&) = delete;

  void park(napi_env env, napi_value buffer) noexcept;
  // The latest of this length, which the processor's caches may still hold; null where there is none.
  napi_value take(napi_env env, size_t bytes) noexcept;

 private:
  // What a step of many layers may leave behind; then the older half is forgotten.
  static constexpr size_t kMost = 1024;

  struct Entry {
    size_t bytes;
    napi_ref buffer;  // released with the environment, where it still stands then
  };

  static napi_value alive(napi_env env, const Entry& entry) noexcept;
  void make_room(napi_env env) noexcept;

  std::vector<Entry> entries_;  // in the order in which they came
};

}  // namespace sigma
