// A fake CUDA runtime on the host, with the functions that the backend calls. Queued work runs at once in the calling
// thread, so stream order is not tested, but every pointer, handle and size is checked.
//
// SIGMA_SIMULATED_ERROR=<number>: every call that waits reports this error, like a device after a faulting kernel.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstring>
#include <mutex>
#include <set>

#include "device_memory.h"
#include "misuse.h"

using namespace sigma::simulation;

struct CUstream_st {
  int device;
};
struct CUevent_st {
  int device;
  std::chrono::steady_clock::time_point recorded = {};
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

cudaError_t waited() { return result(static_cast<cudaError_t>(setting("SIGMA_SIMULATED_ERROR", cudaSuccess))); }

void check_copy(const void* to, size_t to_bytes, const void* from, size_t from_bytes, cudaMemcpyKind kind,
                const char* call) {
  if (kind == cudaMemcpyDeviceToDevice || kind == cudaMemcpyHostToDevice) require_device(to, to_bytes, call);
  if (kind == cudaMemcpyDeviceToDevice || kind == cudaMemcpyDeviceToHost) require_device(from, from_bytes, call);
  if (kind == cudaMemcpyDeviceToHost) require_host(to, call);
  if (kind == cudaMemcpyHostToDevice) require_host(from, call);
}

cudaError_t allocate(void** memory, size_t bytes) {
  *memory = allocate_device(bytes);
  return result(*memory == nullptr ? cudaErrorMemoryAllocation : cudaSuccess);
}

}  // namespace

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

cudaError_t cudaDeviceSynchronize() { return waited(); }

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  const long long capability = setting("SIGMA_SIMULATED_CAPABILITY", 90);
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount: *value = 4; return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = capability >= 90 ? 227 << 10 : 64 << 10; return cudaSuccess;
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
  return waited();
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned int) {
  alive<cudaStream_t>().require_alive(stream, "cudaStreamWaitEvent");
  alive<cudaEvent_t>().require_alive(event, "cudaStreamWaitEvent");
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned int) {
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
  event->recorded = std::chrono::steady_clock::now();
  return cudaSuccess;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  alive<cudaEvent_t>().require_alive(start, "cudaEventElapsedTime");
  alive<cudaEvent_t>().require_alive(end, "cudaEventElapsedTime");
  require(start->recorded.time_since_epoch().count() > 0, "cudaEventElapsedTime", "expected a recorded event");
  *milliseconds = std::chrono::duration<float, std::milli>(end->recorded - start->recorded).count();
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  alive<cudaEvent_t>().require_alive(event, "cudaEventSynchronize");
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

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void*) {
  alive<cudaMemPool_t>().require_alive(pool, "cudaMemPoolSetAttribute");
  require(attribute == cudaMemPoolAttrReleaseThreshold, "cudaMemPoolSetAttribute", "expected the release threshold");
  return cudaSuccess;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t) {
  alive<cudaMemPool_t>().require_alive(pool, "cudaMemPoolTrimTo");
  return cudaSuccess;
}

cudaError_t cudaMallocFromPoolAsync(void** memory, size_t bytes, cudaMemPool_t pool, cudaStream_t stream) {
  alive<cudaMemPool_t>().require_alive(pool, "cudaMallocFromPoolAsync");
  require_stream(stream, "cudaMallocFromPoolAsync");
  require(pool->device == stream->device, "cudaMallocFromPoolAsync", "expected a pool of the stream's device");
  return allocate(memory, bytes);
}

cudaError_t cudaMalloc(void** memory, size_t bytes) { return allocate(memory, bytes); }

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  alive<cudaStream_t>().require_alive(stream, "cudaFreeAsync");
  free_device(memory);
  return cudaSuccess;
}

cudaError_t cudaFree(void* memory) {
  if (memory != nullptr) free_device(memory);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  require_stream(stream, "cudaMemcpyAsync");
  check_copy(to, bytes, from, bytes, kind, "cudaMemcpyAsync");
  std::memmove(to, from, bytes);
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  require_stream(stream, "cudaMemcpy2DAsync");
  if (width > to_pitch || width > from_pitch) return result(cudaErrorInvalidPitchValue);
  if (width == 0 || height == 0) return cudaSuccess;
  check_copy(to, to_pitch * (height - 1) + width, from, from_pitch * (height - 1) + width, kind, "cudaMemcpy2DAsync");
  for (size_t row = 0; row < height; ++row) {
    std::memmove(static_cast<char*>(to) + row * to_pitch, static_cast<const char*>(from) + row * from_pitch, width);
  }
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  require_stream(stream, "cudaMemsetAsync");
  if (bytes == 0) return cudaSuccess;
  require_device(memory, bytes, "cudaMemsetAsync");
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

}  // extern "C"
