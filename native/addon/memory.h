// Device memory that a JavaScript object owns. Freed on release, or after the object is collected.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "environment.h"
#include "handles.h"
#include "place.h"

namespace sigma {

// Element type of a tensor. The first three have the values of sigma_dtype.
enum class Element : int32_t { kFloat32 = 0, kFloat64, kBfloat16, kInt32 };

size_t bytes_of(Element element);

// A block of device memory. An asynchronous call may keep it longer than its handle does.
class DeviceBlock {
 public:
  DeviceBlock(std::shared_ptr<Place> place, size_t bytes);
  ~DeviceBlock() { place_->backend->release(place_->context, data_); }
  DeviceBlock(const DeviceBlock&) = delete;
  DeviceBlock& operator=(const DeviceBlock&) = delete;

  // Whoever asks for the data may read it, so zeroes that were postponed are written first.
  void* data();
  const std::shared_ptr<Place>& place() const { return place_; }

  // Zeroes the memory at its next use: an operation that overwrites it saves the device a pass.
  void zero_later() { zero_pending_ = true; }
  // For an operation that overwrites all of it: whether the memory counts as zeros until then.
  bool take_zero() { return std::exchange(zero_pending_, false); }

 private:
  std::shared_ptr<Place> place_;
  size_t bytes_;
  void* data_ = nullptr;
  bool zero_pending_ = false;  // used on the thread of JavaScript only
};

struct DeviceMemory : Owned {
  DeviceMemory(std::shared_ptr<DeviceBlock> block_, Element element_, int64_t length_)
      : block(std::move(block_)), element(element_), length(length_) {}

  std::shared_ptr<DeviceBlock> block;  // null after release
  Element element;
  int64_t length;

  size_t bytes() const { return static_cast<size_t>(length) * bytes_of(element); }
};

// A handle on `length` uninitialised elements.
Napi::Object make_memory(Napi::Env env, const Environment& environment, const std::shared_ptr<Place>& place,
                         Element element, int64_t length);

// The memory behind a handle; null for any other value.
DeviceMemory* memory_behind(napi_env env, napi_value value);

// The same; throws ArgumentError if the value is not a handle or its memory is released.
DeviceMemory& memory_of(Napi::Value value, const char* name);

// Releases the memory; the handle remains, empty.
void release_memory(Napi::Env env, DeviceMemory& memory);

}  // namespace sigma
