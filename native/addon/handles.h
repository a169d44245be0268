// JavaScript objects that own native resources, which are freed after the objects are collected.
//
// Node runs finalizers only when the event loop turns, so a synchronous loop that creates and drops such objects would
// leak until then. Therefore creating an object may also sweep: free the resources of objects already collected.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace sigma {

class Handles;

// A native resource that a JavaScript object owns.
class Owned {
 public:
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  virtual ~Owned() = default;
  // Reports its memory on the host to V8, so that V8 collects unreachable objects in time. `bytes` is all of its
  // memory.
  void account(napi_env env, int64_t bytes, int64_t on_host) noexcept;

 private:
  friend class Handles;
  std::shared_ptr<Handles> handles_;
  size_t index_ = 0;
  napi_ref object_ = nullptr;  // weak
  int64_t bytes_ = 0;
  int64_t on_host_ = 0;
};

// All native resources of one environment.
class Handles {
 public:
  Handles() = default;
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  // A new object with type tag `tag` that owns `owned`, which takes `bytes` bytes, `on_host` of them on the host.
  static Napi::Object make(Napi::Env env, const std::shared_ptr<Handles>& handles, const napi_type_tag& tag,
                           std::unique_ptr<Owned> owned, int64_t bytes, int64_t on_host);
  // The resource of an object with that type tag; null for any other value.
  static Owned* behind(napi_env env, napi_value value, const napi_type_tag& tag) noexcept;
  // Has V8 collect unreachable objects now, and frees their resources.
  void collect(Napi::Env env);

 private:
  friend class Owned;
  static void finalize(napi_env env, void* data, void*);
  void remove(napi_env env, Owned* owned) noexcept;
  void sweep(napi_env env);

  std::vector<Owned*> all_;
  int64_t bytes_ = 0;
  // Thresholds of the next sweep, which visits every object.
  size_t sweep_at_count_ = 0;
  int64_t sweep_at_bytes_ = 0;
};

}  // namespace sigma
