// Opens a device backend, and handles the memory of its devices.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "args.h"
#include "bind.h"
#include "memory.h"
#include "plugin.h"
#include "task.h"

namespace sigma {
namespace {

std::atomic<const sigma_backend*> opened = nullptr;

Napi::Array devices_of(Napi::Env env, const sigma_backend& backend) {
  Napi::Array list = Napi::Array::New(env);
  const int32_t count = backend.device_count();
  for (int32_t i = 0; i < count; ++i) {
    sigma_device device{};
    if (backend.device_info(i, &device) != SIGMA_OK) throw BackendError(SIGMA_NATIVE, backend.last_error());
    Napi::Object each = Napi::Object::New(env);
    each.Set("name", device.name);
    each.Set("memoryBytes", static_cast<double>(device.memory_bytes));
    each.Set("capability", std::to_string(device.capability_major) + "." + std::to_string(device.capability_minor));
    each.Set("uuid", device.uuid);
    list[static_cast<uint32_t>(i)] = each;
  }
  return list;
}

// deviceOpen(path): { loadError?, reason, detail, searched, backend?, simulated?, devices? }
Napi::Value device_open(Args& args) {
  if (!args.value(0).IsString()) throw ArgumentError("path: expected a string");
  const Plugin& plugin = open_plugin(args.value(0).As<Napi::String>().Utf8Value());
  Napi::Object status = Napi::Object::New(args.env());
  if (!plugin.load_error.empty()) {
    status.Set("loadError", plugin.load_error);
    return status;
  }
  status.Set("reason", static_cast<int>(plugin.probe.reason));
  status.Set("detail", plugin.probe.detail);
  status.Set("searched", plugin.probe.searched);
  const sigma_backend* const backend = plugin.probe.backend;
  if (backend == nullptr) return status;
  const sigma_backend* none = nullptr;
  if (!opened.compare_exchange_strong(none, backend) && none != backend) {
    status.Set("loadError", "another backend is already open in this process");
    return status;
  }
  status.Set("backend", backend->name);
  status.Set("libraries", backend->blas());
  status.Set("simulated", backend->simulated != 0);
  status.Set("devices", devices_of(args.env(), *backend));
  return status;
}

// The place of a device in this environment, created on first use.
const std::shared_ptr<Place>& place_of(Args& args, int64_t device) {
  const sigma_backend* const backend = device_backend();
  if (backend == nullptr || device >= backend->device_count()) {
    throw ArgumentError("device: expected a device of an open backend, got " + std::to_string(device));
  }
  std::shared_ptr<Place>& place = args.environment().devices[static_cast<int32_t>(device)];
  if (!place) place = std::make_shared<Place>(backend, static_cast<int32_t>(device));
  return place;
}

// The place of a device, or of the CPU for -1.
const Place& any_place_of(Args& args) {
  const int64_t device = args.integer(0, "device", -1);
  return device < 0 ? *args.environment().cpu : *place_of(args, device);
}

// supports(device, operation, real, dtypes): whether the backend of a device, or of the CPU for -1, has a kernel for
// these types of vectors and matrices
Napi::Value supports(Args& args) {
  constexpr std::array kOperations = {
#define SIGMA_NAME(operation) std::string_view(#operation),
      SIGMA_OPERATIONS(SIGMA_NAME)
#undef SIGMA_NAME
  };
  constexpr std::array<std::string_view, 5> kTypes = {"float32", "float64", "bfloat16", "int8", "float16"};
  const auto index_in = [](const auto& names, Napi::Value value, const char* argument) {
    const std::string name = value.IsString() ? value.As<Napi::String>().Utf8Value() : "";
    const auto found = std::find(names.begin(), names.end(), name);
    if (found == names.end())
      throw ArgumentError(std::string(argument) + ": expected a known name, got '" + name + "'");
    return found - names.begin();
  };
  const auto operation = static_cast<sigma_operation>(index_in(kOperations, args.value(1), "operation"));
  const auto real = real_of(static_cast<sigma_dtype>(index_in(kTypes, args.value(2), "real")));
  if (!args.value(3).IsArray()) throw ArgumentError("dtypes: expected an array");
  std::vector<sigma_dtype> dtypes;
  const auto given = args.value(3).As<Napi::Array>();
  for (uint32_t i = 0; i < given.Length(); ++i) {
    dtypes.push_back(static_cast<sigma_dtype>(index_in(kTypes, given[i], "dtypes")));
  }
  const sigma_backend& backend = *any_place_of(args).backend;
  const int32_t count = static_cast<int32_t>(dtypes.size());
  return Napi::Boolean::New(args.env(), backend.supports(operation, real, dtypes.data(), count) != 0);
}

// timerStart(device)
Napi::Value timer_start(Args& args) {
  const Engine e = any_place_of(args).engine();
  e.check(e.backend->start_timer(e.context));
  return args.env().Undefined();
}

// timerStop(device): milliseconds
Napi::Value timer_stop(Args& args) {
  const Engine e = any_place_of(args).engine();
  double milliseconds = 0;
  e.check(e.backend->stop_timer(e.context, &milliseconds));
  return Napi::Number::New(args.env(), milliseconds);
}

// deviceAllocate(device, element, length): a handle on uninitialised memory, of length 0 for a batch of no rows
Napi::Value device_allocate(Args& args) {
  const int64_t element = args.integer(1, "element");
  const int64_t length = args.integer(2, "length");
  if (element > static_cast<int64_t>(Element::kInt32))
    throw ArgumentError("element: expected a known element type, got " + std::to_string(element));
  product(length, 8);
  return make_memory(args.env(), args.environment(), place_of(args, args.integer(0, "device")),
                     static_cast<Element>(element), length);
}

// deviceRelease(memory)
Napi::Value device_release(Args& args) {
  DeviceMemory* const memory = memory_behind(args.env(), args.value(0));
  if (memory == nullptr) throw ArgumentError("memory: expected device memory");
  release_memory(args.env(), *memory);
  return args.env().Undefined();
}

// The data of a typed array that has the memory's element type and length.
void* host_side(Napi::Value value, const DeviceMemory& memory) {
  constexpr napi_typedarray_type kTypes[] = {napi_float32_array, napi_float64_array, napi_uint16_array,
                                             napi_int32_array};
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  const bool read = napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) == napi_ok;
  if (!read || type != kTypes[static_cast<int>(memory.element)] || static_cast<int64_t>(length) != memory.length) {
    throw ArgumentError("array: expected a typed array of the memory's type and length");
  }
  return data;
}

Engine engine_of(const DeviceMemory& memory) { return memory.block->place()->engine(); }

// deviceUpload(memory, array)
Napi::Value device_upload(Args& args) {
  const DeviceMemory& memory = memory_of(args.value(0), "memory");
  const Engine e = engine_of(memory);
  const void* const from = host_side(args.value(1), memory);
  memory.block->take_zero();  // all of it is overwritten
  e.check(e.backend->upload(e.context, memory.block->data(), from, memory.bytes()));
  return args.env().Undefined();
}

// deviceDownload(memory, array)
Napi::Value device_download(Args& args) {
  const DeviceMemory& memory = memory_of(args.value(0), "memory");
  const Engine e = engine_of(memory);
  e.check(e.backend->download(e.context, host_side(args.value(1), memory), memory.block->data(), memory.bytes()));
  return args.env().Undefined();
}

// A download off the event loop. It owns a snapshot of the memory, because the caller may overwrite or release the
// original before the download runs. Without a snapshot there is nothing left to do. No one else has the target array
// yet.
class DownloadTask : public Task {
 public:
  DownloadTask(std::shared_ptr<DeviceBlock> block, void* to, size_t bytes)
      : block_(std::move(block)), to_(to), bytes_(bytes) {}

 protected:
  Outcome run() override {
    Outcome outcome;
    if (block_ == nullptr) return outcome;
    const Place& place = *block_->place();
    outcome.status = place.backend->download(place.context, to_, block_->data(), bytes_);
    if (outcome.status != SIGMA_OK) outcome.message = place.backend->last_error();
    return outcome;
  }

 private:
  std::shared_ptr<DeviceBlock> block_;
  void* to_;
  size_t bytes_;
};

// deviceDownloadLater(memory, array): Promise<void>
Napi::Value device_download_later(Args& args) {
  const DeviceMemory& memory = memory_of(args.value(0), "memory");
  void* const to = host_side(args.value(1), memory);
  const Engine e = engine_of(memory);
  std::shared_ptr<DeviceBlock> copy;
  try {
    copy = std::make_shared<DeviceBlock>(memory.block->place(), memory.bytes());
    e.check(e.backend->copy(e.context, copy->data(), memory.block->data(), memory.bytes()));
  } catch (const BackendError& error) {
    // A full device has no room for a snapshot: download now, through chunks of pinned memory.
    if (error.status() != SIGMA_OUT_OF_MEMORY) throw;
    copy = nullptr;
    e.check(e.backend->download(e.context, to, memory.block->data(), memory.bytes()));
  }
  auto task = std::make_unique<DownloadTask>(std::move(copy), to, memory.bytes());
  return Task::start(args.env(), args.caller("data"), std::move(task), args.value(1));
}

// deviceZero(memory)
Napi::Value device_zero(Args& args) {
  const DeviceMemory& memory = memory_of(args.value(0), "memory");
  memory.block->zero_later();
  return args.env().Undefined();
}

// The vectors of one type on one device.
struct Vectors {
  Engine engine;
  sigma_real real;
  std::shared_ptr<Place> place;
  std::vector<sigma_vector> all;
};

// The floating-point memory of an array, in groups that a device computes in one call.
std::vector<Vectors> vectors_of(Args& args) {
  if (!args.value(0).IsArray()) throw ArgumentError("memory: expected an array");
  const auto given = args.value(0).As<Napi::Array>();
  std::vector<Vectors> groups;
  for (uint32_t i = 0; i < given.Length(); ++i) {
    const DeviceMemory& memory = memory_of(given[i], "memory");
    if (memory.element != Element::kFloat32 && memory.element != Element::kFloat64)
      throw ArgumentError("memory: expected float32 or float64");
    const sigma_real real = memory.element == Element::kFloat64 ? SIGMA_REAL64 : SIGMA_REAL32;
    const std::shared_ptr<Place>& place = memory.block->place();
    const auto same = [&](const Vectors& group) { return group.real == real && group.place == place; };
    auto group = std::find_if(groups.begin(), groups.end(), same);
    if (group == groups.end()) group = groups.insert(group, {engine_of(memory), real, place, {}});
    group->all.push_back({memory.block->data(), memory.length});
  }
  return groups;
}

// deviceNorm(memory[]): the Euclidean norm of all numbers
Napi::Value device_norm(Args& args) {
  double norm = 0;
  for (const auto& [e, real, place, all] : vectors_of(args)) {
    double of_group = 0;
    e.check(e.backend->norm(e.context, real, all.data(), static_cast<int64_t>(all.size()), &of_group));
    norm = std::isnan(norm + of_group) ? norm + of_group : std::hypot(norm, of_group);
  }
  return Napi::Number::New(args.env(), norm);
}

// deviceScale(memory[], factor): multiplies all numbers
Napi::Value device_scale(Args& args) {
  const double factor = args.number(1, "factor");
  for (const auto& [e, real, place, all] : vectors_of(args)) {
    e.check(e.backend->scale(e.context, real, all.data(), static_cast<int64_t>(all.size()), factor));
  }
  return args.env().Undefined();
}

// deviceCopy(to, from): memory of one type, length and device
Napi::Value device_copy(Args& args) {
  const DeviceMemory& to = memory_of(args.value(0), "to");
  const DeviceMemory& from = memory_of(args.value(1), "from");
  const bool alike = to.element == from.element && to.length == from.length && to.block->place() == from.block->place();
  if (!alike) throw ArgumentError("from: expected memory of the same type, length and device");
  const Engine e = engine_of(to);
  e.check(e.backend->copy(e.context, to.block->data(), from.block->data(), to.bytes()));
  return args.env().Undefined();
}

// cast(to, from): floating-point numbers of one length and device
Napi::Value cast(Args& args) {
  const View to = args.view(0, "to");
  const View from = args.view(1, "from");
  const std::shared_ptr<Place>& place = to.block ? to.block->place() : args.environment().cpu;
  const bool castable = to.length == from.length && to.dtype != SIGMA_INT8 && from.dtype != SIGMA_INT8 &&
                        (from.block ? from.block->place() == place : !place->has_memory());
  if (!castable) throw ArgumentError("from: expected numbers of the same length and device");
  const auto row = [](const View& view) { return dense_matrix(view.dtype, view.data, 1, view.length); };
  place->engine().run(&sigma_backend::cast, sigma_cast{row(from), row(to)});
  return args.env().Undefined();
}

}  // namespace

const sigma_backend* device_backend() { return opened.load(); }

void bind_device(Napi::Object exports) {
  export_function<device_open>(exports, "deviceOpen");
  export_function<supports>(exports, "supports");
  export_function<timer_start>(exports, "timerStart");
  export_function<timer_stop>(exports, "timerStop");
  export_function<device_allocate>(exports, "deviceAllocate");
  export_function<device_release>(exports, "deviceRelease");
  export_function<device_upload>(exports, "deviceUpload");
  export_function<device_download>(exports, "deviceDownload");
  export_function<device_download_later>(exports, "deviceDownloadLater");
  export_function<device_zero>(exports, "deviceZero");
  export_function<device_norm>(exports, "deviceNorm");
  export_function<device_scale>(exports, "deviceScale");
  export_function<device_copy>(exports, "deviceCopy");
  export_function<cast>(exports, "cast");
}

}  // namespace sigma
