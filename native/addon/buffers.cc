#include "buffers.h"

#include <algorithm>

namespace sigma {

void FreeBuffers::park(napi_env env, napi_value buffer) noexcept {
  Entry entry{};
  if (napi_get_arraybuffer_info(env, buffer, nullptr, &entry.bytes) != napi_ok || entry.bytes == 0) return;
  if (napi_create_reference(env, buffer, 0, &entry.buffer) != napi_ok) return;
  if (entries_.size() == kMost) make_room(env);
  entries_.push_back(entry);
}

napi_value FreeBuffers::take(napi_env env, size_t bytes) noexcept {
  for (size_t i = entries_.size(); i-- > 0;) {
    const Entry entry = entries_[i];
    if (entry.bytes != bytes) continue;
    const napi_value buffer = alive(env, entry);
    napi_delete_reference(env, entry.buffer);
    entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(i));
    if (buffer != nullptr) return buffer;
  }
  return nullptr;
}

size_t FreeBuffers::bytes(napi_env env) const noexcept {
  size_t sum = 0;
  for (const Entry& entry : entries_) sum += alive(env, entry) != nullptr ? entry.bytes : 0;
  return sum;
}

void FreeBuffers::trim(napi_env env) noexcept {
  for (const Entry& entry : entries_) {
    const napi_value buffer = alive(env, entry);
    if (buffer != nullptr) napi_detach_arraybuffer(env, buffer);
    napi_delete_reference(env, entry.buffer);
  }
  entries_.clear();
}

// Null if the buffer was collected, detached or resized meanwhile.
napi_value FreeBuffers::alive(napi_env env, const Entry& entry) noexcept {
  napi_value buffer = nullptr;
  size_t bytes = 0;
  if (napi_get_reference_value(env, entry.buffer, &buffer) != napi_ok || buffer == nullptr) return nullptr;
  if (napi_get_arraybuffer_info(env, buffer, nullptr, &bytes) != napi_ok) return nullptr;
  return bytes == entry.bytes ? buffer : nullptr;
}

void FreeBuffers::make_room(napi_env env) noexcept {
  std::erase_if(entries_, [&](const Entry& entry) {
    const bool dead = alive(env, entry) == nullptr;
    if (dead) napi_delete_reference(env, entry.buffer);
    return dead;
  });
  if (entries_.size() < kMost) return;
  const auto half = entries_.begin() + kMost / 2;
  for (auto old = entries_.begin(); old != half; ++old) napi_delete_reference(env, old->buffer);
  entries_.erase(entries_.begin(), half);
}

}  // namespace sigma
