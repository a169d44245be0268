// A pool of free result buffers, for reuse by results of the same size.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <vector>

namespace sigma {

// Holds weak references only, so V8 collects a pooled buffer as if it were not in the pool.
class FreeBuffers {
 public:
  FreeBuffers() { entries_.reserve(kMost); }
  FreeBuffers(const FreeBuffers&) = delete;
  FreeBuffers& operator=(const FreeBuffers&) = delete;

  void park(napi_env env, napi_value buffer) noexcept;
  // The most recent buffer of this length, which may still be in cache; null if there is none.
  napi_value take(napi_env env, size_t bytes) noexcept;
  // Bytes of the buffers that are not collected yet.
  size_t bytes(napi_env env) const noexcept;
  // Frees the memory of all buffers, by detaching them: no one else has seen them.
  void trim(napi_env env) noexcept;

 private:
  // As many as one step of many layers may free. A full pool drops its older half.
  static constexpr size_t kMost = 1024;

  struct Entry {
    size_t bytes;
    napi_ref buffer;  // Node releases the rest with the environment
  };

  static napi_value alive(napi_env env, const Entry& entry) noexcept;
  void make_room(napi_env env) noexcept;

  std::vector<Entry> entries_;  // oldest first
};

}  // namespace sigma
