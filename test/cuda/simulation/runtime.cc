// A fake CUDA runtime on the host, with the functions that the backend calls. It checks every pointer, handle and size
// at the call. The work itself is queued, and runs as late as possible (queue.h). Copies read and write host memory
// when they run: CUDA may copy pageable memory earlier, but no one must rely on that.
//
// SIGMA_SIMULATED_ERROR=<number>: every call that waits reports this error, like a device after a faulting kernel.
// SIGMA_SIMULATED_CAPABILITY=<number>: compute capability of the devices, 90 for 9.0, which determines shared memory.
// SIGMA_SIMULATED_MULTIPROCESSORS=<number>: multiprocessors of a device.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstring>
#include <map>
#include <mutex>
#include <set>

#include "counts.h"
#include "device_memory.h"
#include "misuse.h"
#include "queue.h"
#include "simulate.h"

using namespace sigma::simulation;

using Instant = std::chrono::steady_clock::time_point;

struct CUstream_st {
  int device;
  std::shared_ptr<Queue> queue = make_queue();
};
struct CUevent_st {
  int device;
  Point recorded = {};  // by the last cudaEventRecord
  std::shared_ptr<Instant> instant = std::make_shared<Instant>();
};
struct CUmemPoolHandle_st {
  int device;
};

namespace {

thread_local int current_device = 0;
thread_local cudaError_t last_failure = cudaSuccess;

cudaError_t result(cudaError_t error) {
  if (error != cudaSuccess) last_failure = error;
  return error;
}

int devices() { return static_cast<int>(setting("SIGMA_SIMULATED_DEVICES", 1)); }

// Tracks live handles, to detect dangling ones.
template <class Handle>
class Alive {
 public:
  Handle make(int device) {
    const std::lock_guard lock(mutex_);
    return *handles_.insert(new std::remove_pointer_t<Handle>{device}).first;
  }
  void require_alive(Handle handle, const char* call) {
    const std::lock_guard lock(mutex_);
    require(handles_.count(handle) != 0, call, "expected a live handle");
  }
  void destroy(Handle handle, const char* call) {
    require_alive(handle, call);
    const std::lock_guard lock(mutex_);
    handles_.erase(handle);
    delete handle;
  }

 private:
  std::mutex mutex_;
  std::set<Handle> handles_;
};

template <class Handle>
Alive<Handle>& alive() {
  static Alive<Handle>& all = *new Alive<Handle>;
  return all;
}

void require_stream(cudaStream_t stream, const char* call) {
  alive<cudaStream_t>().require_alive(stream, call);
  require(stream->device == current_device, call, "expected a stream of the current device");
}

std::atomic<uint64_t> release_threshold = 0;

cudaError_t failure() { return result(static_cast<cudaError_t>(setting("SIGMA_SIMULATED_ERROR", cudaSuccess))); }

cudaError_t waited() {
  ++counts().waits;
  release_pool_above(release_threshold);
  return failure();
}

// By compute capability: shared memory that a block may opt in to.
size_t shared_memory_per_block() {
  switch (setting("SIGMA_SIMULATED_CAPABILITY", 90)) {
    case 75: return 64 << 10;
    case 80:
    case 87: return 163 << 10;
    case 86:
    case 89:
    case 120: return 99 << 10;
    default: return 227 << 10;
  }
}

// Shared memory that kernels have opted in to.
struct OptIns {
  std::mutex mutex;
  std::map<const void*, size_t> bytes;
};

OptIns& opt_ins() {
  static OptIns& all = *new OptIns;
  return all;
}

void check_copy(const void* to, size_t to_bytes, const void* from, size_t from_bytes, cudaMemcpyKind kind,
                const char* call) {
  if (kind == cudaMemcpyDeviceToDevice || kind == cudaMemcpyHostToDevice) require_device(to, to_bytes, call);
  if (kind == cudaMemcpyDeviceToDevice || kind == cudaMemcpyDeviceToHost) require_device(from, from_bytes, call);
  if (kind == cudaMemcpyDeviceToHost) require_host(to, call);
  if (kind == cudaMemcpyHostToDevice) require_host(from, call);
}

void post(cudaStream_t stream, std::function<void()> work) { post(stream->queue, std::move(work)); }

}  // namespace

namespace sigma::cuda {

void enqueue_kernel(cudaStream_t stream, const void* kernel, size_t shared, std::function<void()> work) {
  require_stream(stream, "a kernel");
  constexpr size_t kWithoutOptIn = 48 << 10;
  size_t allowed = kWithoutOptIn;
  {
    const std::lock_guard lock(opt_ins().mutex);
    const auto found = opt_ins().bytes.find(kernel);
    if (found != opt_ins().bytes.end()) allowed = std::max(allowed, found->second);
  }
  require(shared <= allowed, "a kernel", "expected no more shared memory than the kernel has opted in to");
  ++counts().kernels;
  post(stream, std::move(work));
}

void mark_uninitialised(void* memory, size_t bytes, cudaStream_t stream) {
  if (poisons()) post(stream, [=] { poison(memory, bytes); });
}

}  // namespace sigma::cuda

extern "C" {

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess: return "no error";
    case cudaErrorMemoryAllocation: return "out of memory";
    case cudaErrorIllegalAddress: return "an illegal memory access was encountered";
    case cudaErrorInvalidDevice: return "invalid device ordinal";
    default: return "a simulated error";
  }
}

cudaError_t cudaGetLastError() {
  const cudaError_t error = last_failure;
  last_failure = cudaSuccess;
  return error;
}

// ── devices ──────────────────────────────────────────────────────────────────────────────────────────────

cudaError_t cudaGetDeviceCount(int* count) {
  *count = devices();
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= devices()) return result(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  run_all();
  return waited();
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const long long capability = setting("SIGMA_SIMULATED_CAPABILITY", 90);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = static_cast<int>(setting("SIGMA_SIMULATED_MULTIPROCESSORS", 4));
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = static_cast<int>(shared_memory_per_block());
      return cudaSuccess;
    case cudaDevAttrSingleToDoublePrecisionPerfRatio:
      *value = static_cast<int>(setting("SIGMA_SIMULATED_FLOAT_TO_DOUBLE", 2));
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor: *value = static_cast<int>(capability / 10); return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor: *value = static_cast<int>(capability % 10); return cudaSuccess;
    case cudaDevAttrMemoryPoolsSupported:
      *value = static_cast<int>(setting("SIGMA_SIMULATED_POOLS", 1));
      return cudaSuccess;
    default: misuse("cudaDeviceGetAttribute", "expected an attribute that the simulation supports");
  }
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  const long long capability = setting("SIGMA_SIMULATED_CAPABILITY", 90);
  *properties = {};
  std::strcpy(properties->name, "simulated device");
  properties->totalGlobalMem = memory_size();
  properties->major = static_cast<int>(capability / 10);
  properties->minor = static_cast<int>(capability % 10);
  properties->uuid.bytes[0] = static_cast<char>(setting("SIGMA_SIMULATED_UUID", 0));
  for (int i = 1; i < 16; ++i) properties->uuid.bytes[i] = static_cast<char>(i);
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  require(attribute == cudaFuncAttributeMaxDynamicSharedMemorySize, "cudaFuncSetAttribute", "expected shared memory");
  if (value < 0 || static_cast<size_t>(value) > shared_memory_per_block()) return result(cudaErrorInvalidValue);
  const std::lock_guard lock(opt_ins().mutex);
  opt_ins().bytes[kernel] = static_cast<size_t>(value);
  return cudaSuccess;
}

// ── streams and events ───────────────────────────────────────────────────────────────────────────────────

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned int) {
  *stream = alive<cudaStream_t>().make(current_device);
  return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  alive<cudaStream_t>().destroy(stream, "cudaStreamDestroy");
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  alive<cudaStream_t>().require_alive(stream, "cudaStreamSynchronize");
  run_until(end_of(stream->queue));
  return waited();
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  alive<cudaStream_t>().require_alive(stream, "cudaStreamQuery");
  const cudaError_t error = failure();
  return error != cudaSuccess ? error : reached(end_of(stream->queue)) ? cudaSuccess : result(cudaErrorNotReady);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
  alive<cudaStream_t>().require_alive(stream, "cudaStreamWaitEvent");
  alive<cudaEvent_t>().require_alive(event, "cudaStreamWaitEvent");
  post_wait(stream->queue, event->recorded);
  return cudaSuccess;
}

// SIGMA_SIMULATED_EVENTS=0: there is no memory for an event.
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int) {
  if (setting("SIGMA_SIMULATED_EVENTS", 1) == 0) return cudaErrorMemoryAllocation;
  *event = alive<cudaEvent_t>().make(current_device);
  return cudaSuccess;
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  alive<cudaEvent_t>().destroy(event, "cudaEventDestroy");
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  alive<cudaEvent_t>().require_alive(event, "cudaEventRecord");
  alive<cudaStream_t>().require_alive(stream, "cudaEventRecord");
  require(event->device == stream->device, "cudaEventRecord", "expected an event of the stream's device");
  post(stream, [instant = event->instant] { *instant = std::chrono::steady_clock::now(); });
  event->recorded = end_of(stream->queue);
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  alive<cudaEvent_t>().require_alive(start, "cudaEventElapsedTime");
  alive<cudaEvent_t>().require_alive(end, "cudaEventElapsedTime");
  for (const cudaEvent_t event : {start, end}) {
    require(event->recorded.queue != nullptr, "cudaEventElapsedTime", "expected a recorded event");
    if (!reached(event->recorded)) return result(cudaErrorNotReady);
  }
  *milliseconds = std::chrono::duration<float, std::milli>(*end->instant - *start->instant).count();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  alive<cudaEvent_t>().require_alive(event, "cudaEventSynchronize");
  run_until(event->recorded);
  return waited();
}

// ── memory ───────────────────────────────────────────────────────────────────────────────────────────────

cudaError_t cudaHostAlloc(void** memory, size_t bytes, unsigned int) {
  *memory = std::malloc(bytes);
  return result(*memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}

cudaError_t cudaFreeHost(void* memory) {
  std::free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* available, size_t* total) {
  *available = memory_free();
  *total = memory_size();
  return cudaSuccess;
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* properties) {
  require(properties->allocType == cudaMemAllocationTypePinned && properties->maxSize == 0, "cudaMemPoolCreate",
          "expected properties that the simulation supports");
  *pool = alive<cudaMemPool_t>().make(properties->location.id);
  return cudaSuccess;
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  alive<cudaMemPool_t>().require_alive(pool, "cudaMemPoolSetAttribute");
  require(attribute == cudaMemPoolAttrReleaseThreshold, "cudaMemPoolSetAttribute", "expected the release threshold");
  release_threshold = *static_cast<uint64_t*>(value);
  return cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t kept) {
  alive<cudaMemPool_t>().require_alive(pool, "cudaMemPoolTrimTo");
  trim_pool(kept);
  return cudaSuccess;
}

cudaError_t cudaMallocFromPoolAsync(void** memory, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  alive<cudaMemPool_t>().require_alive(pool, "cudaMallocFromPoolAsync");
  require_stream(stream, "cudaMallocFromPoolAsync");
  require(pool->device == stream->device, "cudaMallocFromPoolAsync", "expected a pool of the stream's device");
  *memory = allocate_device(bytes, stream);
  if (*memory == nullptr) return result(cudaErrorMemoryAllocation);
  // In stream order: another stream must wait before it uses the memory.
  post(stream, [start = *memory, bytes] { poison(start, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMalloc(void** memory, size_t bytes) {
  *memory = allocate_device(bytes, nullptr);
  if (*memory == nullptr) return result(cudaErrorMemoryAllocation);
  poison(*memory, bytes);
  return cudaSuccess;
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  alive<cudaStream_t>().require_alive(stream, "cudaFreeAsync");
  begin_free(memory, stream);
  post(stream, [memory] { end_free(memory); });
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  if (memory == nullptr) return cudaSuccess;
  run_all();
  begin_free(memory, nullptr);
  end_free(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  require_stream(stream, "cudaMemcpyAsync");
  check_copy(to, bytes, from, bytes, kind, "cudaMemcpyAsync");
  ++counts().copies;
  post(stream, [=] { std::memmove(to, from, bytes); });
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  require_stream(stream, "cudaMemcpy2DAsync");
  if (width > to_pitch || width > from_pitch) return result(cudaErrorInvalidPitchValue);
  if (width == 0 || height == 0) return cudaSuccess;
  check_copy(to, to_pitch * (height - 1) + width, from, from_pitch * (height - 1) + width, kind, "cudaMemcpy2DAsync");
  ++counts().copies;
  post(stream, [=] {
    for (size_t row = 0; row < height; ++row) {
      std::memmove(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
    }
  });
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  require_stream(stream, "cudaMemsetAsync");
  if (bytes == 0) return cudaSuccess;
  require_device(memory, bytes, "cudaMemsetAsync");
  ++counts().fills;
  post(stream, [=] { std::memset(memory, value, bytes); });
  return cudaSuccess;
}

}  // extern "C"

extern "C" __attribute__((visibility("default"))) void sigma_simulated_enqueue(void* stream, void (*run)(void*),
                                                                               void* argument) {
  require_stream(static_cast<cudaStream_t>(stream), "a library's routine");
  post(static_cast<cudaStream_t>(stream), [=] { run(argument); });
}
