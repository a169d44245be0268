#include "handles.h"

#include <algorithm>
#include <utility>

namespace sigma {
namespace {

constexpr size_t kLeastCount = 256;
constexpr int64_t kLeastBytes = int64_t{16} << 20;

}  // namespace

void Owned::account(napi_env env, int64_t bytes, int64_t on_host) noexcept {
  int64_t total = 0;
  napi_adjust_external_memory(env, on_host - on_host_, &total);
  if (handles_) handles_->bytes_ += bytes - bytes_;
  bytes_ = bytes;
  on_host_ = on_host;
}

Napi::Object Handles::make(Napi::Env env, const std::shared_ptr<Handles>& handles, const napi_type_tag& tag,
                           std::unique_ptr<Owned> owned, int64_t bytes, int64_t on_host) {
  Handles& self = *handles;
  if (self.all_.size() >= self.sweep_at_count_ || self.bytes_ >= self.sweep_at_bytes_) self.sweep(env);
  Napi::Object object = Napi::Object::New(env);
  if (napi_type_tag_object(env, object, &tag) != napi_ok) throw Napi::Error::New(env);
  self.all_.push_back(owned.get());
  owned->index_ = self.all_.size() - 1;
  if (napi_wrap(env, object, owned.get(), finalize, nullptr, &owned->object_) != napi_ok) {
    self.all_.pop_back();
    throw Napi::Error::New(env);
  }
  owned->handles_ = handles;
  owned.release()->account(env, bytes, on_host);
  return object;
}

Owned* Handles::behind(napi_env env, napi_value value, const napi_type_tag& tag) noexcept {
  bool tagged = false;
  void* data = nullptr;
  napi_valuetype type = napi_undefined;
  const bool found = napi_typeof(env, value, &type) == napi_ok && type == napi_object &&
                     napi_check_object_type_tag(env, value, &tag, &tagged) == napi_ok && tagged &&
                     napi_unwrap(env, value, &data) == napi_ok;
  return found ? static_cast<Owned*>(data) : nullptr;
}

void Handles::finalize(napi_env env, void* data, void*) {
  auto* const owned = static_cast<Owned*>(data);
  const std::shared_ptr<Handles> handles = owned->handles_;  // may outlive the environment's data
  handles->remove(env, owned);
}

void Handles::remove(napi_env env, Owned* owned) noexcept {
  owned->account(env, 0, 0);
  all_.back()->index_ = owned->index_;
  std::swap(all_[owned->index_], all_.back());
  all_.pop_back();
  napi_delete_reference(env, owned->object_);  // cancels a finalizer that is still pending
  delete owned;
}

void Handles::collect(Napi::Env env) {
  // Node-API has no other way. Above V8's hard limit of external memory, half of its heap, V8 collects at once.
  constexpr int64_t kPressure = int64_t{1} << 40;
  int64_t total = 0;
  napi_adjust_external_memory(env, kPressure, &total);
  napi_adjust_external_memory(env, -kPressure, &total);
  sweep(env);
}

void Handles::sweep(napi_env env) {
  const Napi::HandleScope scope(env);
  for (size_t i = all_.size(); i-- > 0;) {
    napi_value object = nullptr;
    const bool collected = napi_get_reference_value(env, all_[i]->object_, &object) == napi_ok && object == nullptr;
    // `remove` moves the last element here; this loop has already visited it.
    if (collected) remove(env, all_[i]);
  }
  sweep_at_count_ = std::max(kLeastCount, 2 * all_.size());
  sweep_at_bytes_ = std::max(kLeastBytes, 2 * bytes_);
}

}  // namespace sigma
