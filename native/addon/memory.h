// Memory of a device, held by a JavaScript object: given back when it is released, or when the object is collected.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "environment.h"
#include "handles.h"
#include "place.h"

namespace sigma {

// What a tensor holds; the first three are a sigma_dtype.
enum class Element : int32_t { kFloat32 = 0, kFloat64, kBfloat16, kInt32 };

size_t bytes_of(Element element);

// A piece of a device's memory. It outlives its handle while an asynchronous call uses it.
class DeviceBlock {
 public:
  DeviceBlock(std::shared_ptr<Place> place, size_t bytes);
  ~DeviceBlock() { place_->backend->release(place_->context, data_); }
  DeviceBlock(const DeviceBlock&) = delete;
  DeviceBlock& operator=(const DeviceBlock&) = delete;

  void* data() const { return data_; }
  const std::shared_ptr<Place>& place() const { return place_; }

 private:
  std::shared_ptr<Place> place_;
  void* data_ = nullptr;
};

struct DeviceMemory : Owned {
  DeviceMemory(std::shared_ptr<DeviceBlock> block_, Element element_, int64_t length_)
      : block(std::move(block_)), element(element_), length(length_) {}

  std::shared_ptr<DeviceBlock> block;  // null once it was released
  Element element;
  int64_t length;

  size_t bytes() const { return static_cast<size_t>(length) * bytes_of(element); }
};

// A handle on new memory for `length` elements, of no particular content.
Napi::Object make_memory(Napi::Env env, const Environment& environment, std::shared_ptr<Place> place, Element element,
                         int64_t length);

// What is behind a handle; null for any other value.
DeviceMemory* memory_behind(napi_env env, napi_value value);

// The same for a value that has to be one with its memory; throws ArgumentError.
DeviceMemory& memory_of(Napi::Value value, const char* name);

// Lets go of the memory; the handle stays, empty.
void release_memory(Napi::Env env, DeviceMemory& memory);

}  // namespace sigma
