#include "memory.h"

#include <string>
#include <utility>

namespace sigma {
namespace {

constexpr napi_type_tag kMemoryTag = {0x2c6b0f4e91d84a37, 0xb1f05e7a63c94d28};

// What a handle takes on the host. V8 is told no more: it would start a collection every 64 MiB of device memory, which
// costs as much as the products of a training step. Instead, a collection is forced when the device has no memory left.
constexpr int64_t kHandleBytes = 256;

std::shared_ptr<DeviceBlock> make_block(Napi::Env env, const Environment& environment,
                                        const std::shared_ptr<Place>& place, size_t bytes) {
  try {
    return std::make_shared<DeviceBlock>(place, bytes);
  } catch (const BackendError& error) {
    if (error.status() != SIGMA_OUT_OF_MEMORY) throw;
  }
  environment.handles->collect(env);
  return std::make_shared<DeviceBlock>(place, bytes);
}

}  // namespace

size_t bytes_of(Element element) {
  switch (element) {
    case Element::kFloat64: return 8;
    case Element::kBfloat16: return 2;
    default: return 4;
  }
}

DeviceBlock::DeviceBlock(std::shared_ptr<Place> place, size_t bytes) : place_(std::move(place)), bytes_(bytes) {
  place_->engine().check(place_->backend->allocate(place_->context, bytes, &data_));
}

void* DeviceBlock::data() {
  if (zero_pending_) {
    place_->engine().check(place_->backend->zero(place_->context, data_, bytes_));
    zero_pending_ = false;
  }
  return data_;
}

Napi::Object make_memory(Napi::Env env, const Environment& environment, const std::shared_ptr<Place>& place,
                         Element element, int64_t length) {
  auto memory = std::make_unique<DeviceMemory>(nullptr, element, length);
  const size_t bytes = memory->bytes();
  memory->block = make_block(env, environment, place, bytes);
  return Handles::make(env, environment.handles, kMemoryTag, std::move(memory), static_cast<int64_t>(bytes),
                       kHandleBytes);
}

DeviceMemory* memory_behind(napi_env env, napi_value value) {
  return static_cast<DeviceMemory*>(Handles::behind(env, value, kMemoryTag));
}

DeviceMemory& memory_of(Napi::Value value, const char* name) {
  DeviceMemory* const memory = memory_behind(value.Env(), value);
  if (memory == nullptr || !memory->block) {
    throw ArgumentError(std::string(name) + ": expected device memory that is not released");
  }
  return *memory;
}

void release_memory(Napi::Env env, DeviceMemory& memory) {
  if (!memory.block) return;
  memory.account(env, 0, kHandleBytes);
  memory.block.reset();
}

}  // namespace sigma
