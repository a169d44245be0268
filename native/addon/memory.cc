#include "memory.h"

#include <string>
#include <utility>

#include "environment.h"

namespace sigma {
namespace {

constexpr napi_type_tag kMemoryTag = {0x2c6b0f4e91d84a37, 0xb1f05e7a63c94d28};

// V8 sees no device: told what a handle holds, it collects forgotten ones in time.
void account(napi_env env, int64_t bytes) {
  int64_t total = 0;
  napi_adjust_external_memory(env, bytes, &total);
}

}  // namespace

size_t bytes_of(Element element) {
  switch (element) {
    case Element::kFloat64: return 8;
    case Element::kBfloat16: return 2;
    default: return 4;
  }
}

DeviceBlock::DeviceBlock(std::shared_ptr<Place> place, size_t bytes) : place_(std::move(place)) {
  place_->engine().check(place_->backend->allocate(place_->context, bytes, &data_));
}

Napi::Object make_memory(Napi::Env env, std::shared_ptr<Place> place, Element element, int64_t length) {
  auto memory = std::make_unique<DeviceMemory>(nullptr, element, length);
  memory->block = std::make_shared<DeviceBlock>(std::move(place), memory->bytes());
  Napi::Object handle = Napi::Object::New(env);
  const auto collect = [](napi_env collecting, void* data, void*) {
    const std::unique_ptr<DeviceMemory> collected(static_cast<DeviceMemory*>(data));
    if (collected->block) account(collecting, -static_cast<int64_t>(collected->bytes()));
  };
  if (napi_wrap(env, handle, memory.get(), collect, nullptr, nullptr) != napi_ok) throw Napi::Error::New(env);
  account(env, static_cast<int64_t>(memory.release()->bytes()));
  if (napi_type_tag_object(env, handle, &kMemoryTag) != napi_ok) throw Napi::Error::New(env);
  return handle;
}

DeviceMemory* memory_behind(napi_env env, napi_value value) {
  bool tagged = false;
  void* data = nullptr;
  napi_valuetype type = napi_undefined;
  const bool found = napi_typeof(env, value, &type) == napi_ok && type == napi_object &&
                     napi_check_object_type_tag(env, value, &kMemoryTag, &tagged) == napi_ok && tagged &&
                     napi_unwrap(env, value, &data) == napi_ok;
  return found ? static_cast<DeviceMemory*>(data) : nullptr;
}

DeviceMemory& memory_of(Napi::Value value, const char* name) {
  DeviceMemory* const memory = memory_behind(value.Env(), value);
  if (memory == nullptr || !memory->block) {
    throw ArgumentError(std::string(name) + ": expected memory of a device that was not released");
  }
  return *memory;
}

void release_memory(Napi::Env env, DeviceMemory& memory) {
  if (!memory.block) return;
  account(env, -static_cast<int64_t>(memory.bytes()));
  memory.block.reset();
}

}  // namespace sigma
