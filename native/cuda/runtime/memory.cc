#include "cuda/runtime/memory.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "cuda/runtime/handles.h"

namespace sigma::cuda {
namespace {

// The pool keeps free memory up to 1 / kKeptPart of the device's, so that a training step never allocates from the
// driver. A synchronisation returns the rest to the system.
constexpr size_t kKeptPart = 4;

cudaMemPool_t make_pool(int device) {
  int supported = 0;
  check(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, device), "the device's attributes");
  if (supported == 0) return nullptr;
  cudaMemPoolProps properties = {};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  cudaMemPool_t pool = nullptr;
  check(cudaMemPoolCreate(&pool, &properties), "a memory pool");
  size_t available = 0, total = 0;
  check(cudaMemGetInfo(&available, &total), "the device's memory");
  uint64_t kept = total / kKeptPart;
  check(cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &kept), "a memory pool");
  return pool;
}

// The pool of a device, created on first use and kept until the process ends. Null if the device supports no pools.
cudaMemPool_t pool_of(int device) {
  struct Pools {
    std::mutex mutex;
    std::vector<cudaMemPool_t> pools;
    std::vector<bool> made;
  };
  static Pools& all = *new Pools;  // never destroyed: contexts may outlive static destructors
  const auto index = static_cast<size_t>(device);
  const std::lock_guard lock(all.mutex);
  if (all.made.size() <= index) {
    all.pools.resize(index + 1);
    all.made.resize(index + 1);
  }
  if (!all.made[index]) {
    all.pools[index] = make_pool(device);
    all.made[index] = true;
  }
  return all.pools[index];
}

cudaError_t try_allocate(cudaMemPool_t pool, cudaStream_t stream, size_t bytes, void** memory) {
  const cudaError_t error =
      pool != nullptr ? cudaMallocFromPoolAsync(memory, bytes, pool, stream) : cudaMalloc(memory, bytes);
  if (error != cudaSuccess)
    static_cast<void>(cudaGetLastError());  // clears the error, or the next call would report it
  return error;
}

std::string megabytes(size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

[[noreturn]] void throw_out_of_memory(size_t bytes) {
  size_t available = 0, total = 0;
  std::string text = "the device has no memory left for " + megabytes(bytes + (1u << 20) - 1);
  if (cudaMemGetInfo(&available, &total) == cudaSuccess) {
    text += ": " + megabytes(available) + " of " + megabytes(total) + " are free";
  }
  throw Failure(SIGMA_OUT_OF_MEMORY, text);
}

}  // namespace

void* allocate(const Device& device, cudaStream_t stream, size_t bytes) {
  bytes = std::max<size_t>(bytes, 1);
  const cudaMemPool_t pool = pool_of(device.index);
  void* memory = nullptr;
  cudaError_t error = try_allocate(pool, stream, bytes, &memory);
  if (error == cudaErrorMemoryAllocation) {
    // Memory released on other streams becomes free when they finish. Trimming removes fragmentation of the pool.
    check(cudaDeviceSynchronize(), "waiting for memory");
    if (pool != nullptr) check(cudaMemPoolTrimTo(pool, 0), "a memory pool");
    error = try_allocate(pool, stream, bytes, &memory);
  }
  if (error == cudaErrorMemoryAllocation) throw_out_of_memory(bytes);
  check(error, "an allocation");
  return memory;
}

void release(const Device& device, cudaStream_t stream, void* memory) noexcept {
  if (memory == nullptr) return;
  int supported = 0;
  static_cast<void>(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, device.index));
  // Without pools, cudaFree itself synchronises the device.
  const cudaError_t error = supported != 0 ? cudaFreeAsync(memory, stream) : cudaFree(memory);
  if (error != cudaSuccess) static_cast<void>(cudaGetLastError());
}

void* GrowingMemory::at_least(const Device& device, cudaStream_t stream, size_t bytes) {
  if (bytes > bytes_ || memory_.data() == nullptr) {
    // Frees the old memory first, so that old and new need not fit together. Queued work still uses it safely.
    memory_.free();
    bytes_ = 0;
    constexpr size_t kStep = size_t{1} << 20;
    const size_t rounded = (std::max<size_t>(bytes, 1) + kStep - 1) / kStep * kStep;
    memory_ = Memory(device, stream, rounded);
    bytes_ = rounded;
  }
  return memory_.data();
}

}  // namespace sigma::cuda
