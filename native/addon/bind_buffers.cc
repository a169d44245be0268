// Addresses of buffers, memory that is kept for reuse, and whether operands overlap.
#include <cstdint>

#include "args.h"
#include "bind.h"
#include "contract/huge_pages.h"

namespace sigma {
namespace {

constexpr uintptr_t kLine = 64;

void require_buffer(Napi::Value value) {
  if (!value.IsArrayBuffer()) throw ArgumentError("buffer: expected an ArrayBuffer");
}

// prepareBuffer(buffer): bytes from the beginning of a new buffer to the next cache line; asks for huge pages
Napi::Value prepare_buffer(Args& args) {
  require_buffer(args.value(0));
  Napi::ArrayBuffer buffer = args.value(0).As<Napi::ArrayBuffer>();
  const auto address = reinterpret_cast<uintptr_t>(buffer.Data());
  prefer_huge_pages(buffer.Data(), buffer.ByteLength());
  return Napi::Number::New(args.env(), static_cast<double>((kLine - address % kLine) % kLine));
}

// parkBuffer(buffer): offers it to takeBuffer until it is collected
Napi::Value park_buffer(Args& args) {
  require_buffer(args.value(0));
  args.environment().buffers.park(args.env(), args.value(0));
  return args.env().Undefined();
}

// takeBuffer(byteLength): ArrayBuffer | undefined
Napi::Value take_buffer(Args& args) {
  const int64_t bytes = args.integer(0, "byteLength");
  const napi_value buffer = args.environment().buffers.take(args.env(), static_cast<size_t>(bytes));
  return buffer == nullptr ? args.env().Undefined() : Napi::Value(args.env(), buffer);
}

// keptBytes(): { [device]: bytes } of the memory that is kept for later calls; device -1 is the CPU
Napi::Value kept_bytes(Args& args) {
  const Environment& environment = args.environment();
  const Napi::Object kept = Napi::Object::New(args.env());
  const auto add = [&](int32_t device, const Place& place, size_t more) {
    kept.Set(std::to_string(device), static_cast<double>(place.backend->kept_bytes(place.context) + more));
  };
  add(-1, *environment.cpu, environment.buffers.bytes(args.env()));
  for (const auto& [device, place] : environment.devices) add(device, *place, 0);
  return kept;
}

// trimIdle(): whether the environment is in use: whether it has made a call since the last trimIdle, or waits for one.
// If not, frees what is kept.
Napi::Value trim_idle(Args& args) {
  Environment& environment = args.environment();
  const bool in_use = environment.used || *environment.tasks > 0;
  environment.used = false;
  environment.watched = in_use;
  if (!in_use) {
    environment.buffers.trim(args.env());
    environment.cpu->backend->trim(environment.cpu->context);
    for (const auto& [device, place] : environment.devices) place->backend->trim(place->context);
  }
  return Napi::Boolean::New(args.env(), in_use);
}

// overlap(a, b): whether two operands share bytes; compares addresses, because two ArrayBuffers may share memory
Napi::Value overlap(Args& args) {
  const View a = args.view(0, "a");
  const View b = args.view(1, "b");
  const auto begin = [](const View& view) { return reinterpret_cast<uintptr_t>(view.data); };
  const auto end = [&](const View& view) {
    return begin(view) + static_cast<size_t>(view.length) * element_size(view.dtype);
  };
  return Napi::Boolean::New(args.env(), begin(a) < end(b) && begin(b) < end(a));
}

}  // namespace

void bind_buffers(Napi::Object exports) {
  export_function<prepare_buffer>(exports, "prepareBuffer");
  export_function<park_buffer>(exports, "parkBuffer");
  export_function<take_buffer>(exports, "takeBuffer");
  export_function<kept_bytes, Use::kIgnored>(exports, "keptBytes");
  export_function<trim_idle, Use::kIgnored>(exports, "trimIdle");
  export_function<overlap>(exports, "overlap");
}

}  // namespace sigma
