// JavaScript objects that own something native, freed once they are collected.
//
// Node runs finalizers only when the event loop turns, so a synchronous loop that makes and drops such objects would
// pile up what they own. So each new one may also look, by weak references, for those that are collected already.
#pragma once

#include <napi.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

namespace sigma {

class Handles;

// What such an object owns.
class Owned {
 public:
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  virtual ~Owned() = default;
  // Sets what V8 is told of its memory: V8 then collects forgotten objects in time.
  void account(napi_env env, int64_t bytes) noexcept;

 private:
  friend class Handles;
  std::shared_ptr<Handles> handles_;
  size_t index_ = 0;
  napi_ref object_ = nullptr;  // weak
  int64_t bytes_ = 0;
};

// All of one environment.
class Handles {
 public:
  Handles() = default;
  Handles(const Handles&) = delete;
  Handles& operator=(const Handles&) = delete;

  // A new object of the kind `tag` that owns `owned`, of so many bytes.
  static Napi::Object make(Napi::Env env, const std::shared_ptr<Handles>& handles, const napi_type_tag& tag,
                           std::unique_ptr<Owned> owned, int64_t bytes);
  // What an object of that kind owns; null for any other value.
  static Owned* behind(napi_env env, napi_value value, const napi_type_tag& tag) noexcept;

 private:
  friend class Owned;
  static void finalize(napi_env env, void* data, void*);
  void remove(napi_env env, Owned* owned) noexcept;
  void sweep(napi_env env);

  std::vector<Owned*> all_;
  int64_t bytes_ = 0;
  // From where on the next sweep pays: it looks at every object.
  size_t sweep_at_count_ = 0;
  int64_t sweep_at_bytes_ = 0;
};

}  // namespace sigma
