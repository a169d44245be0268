#include "cuda/runtime/memory.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "cuda/runtime/handles.h"
#ifdef SIGMA_SIMULATED
#include "simulate.h"
#endif

namespace sigma::cuda {
namespace {

// Sizes of cached blocks are multiples of this, and a context caches no more blocks than that.
constexpr size_t kGranule = 512;
constexpr size_t kMostUnused = 1024;

struct Caches {
  std::mutex mutex;
  std::vector<BlockCache*> all;
};

Caches& caches() {
  static Caches& all = *new Caches;  // never destroyed: contexts may outlive static destructors
  return all;
}

// The simulation overwrites a block that is allocated again, as it does with new memory.
#ifdef SIGMA_SIMULATED
void mark_reused(void* memory, size_t bytes, cudaStream_t stream) { mark_uninitialised(memory, bytes, stream); }
#else
void mark_reused(void*, size_t, cudaStream_t) {}
#endif

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
  // The pool keeps all free memory, so that a training step never allocates from the driver. The threshold counts used
  // memory too: any lower one would unmap memory at each wait while a model is resident. `trim_memory` returns it.
  uint64_t kept = UINT64_MAX;
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
  text += ". Dispose tensors, or await something: memory of forgotten tensors is freed when the event loop turns";
  throw Failure(SIGMA_OUT_OF_MEMORY, text);
}

}  // namespace

BlockCache::BlockCache(const Device& device, cudaStream_t stream) : device_(device), stream_(stream) {
  const std::lock_guard lock(caches().mutex);
  caches().all.push_back(this);
}

BlockCache::~BlockCache() {
  {
    const std::lock_guard lock(caches().mutex);
    std::erase(caches().all, this);
  }
  flush();
}

void* BlockCache::allocate(size_t bytes) {
  const size_t rounded = (std::max<size_t>(bytes, 1) + kGranule - 1) / kGranule * kGranule;
  {
    const std::lock_guard lock(mutex_);
    const auto found = unused_.find(rounded);
    if (found != unused_.end() && !found->second.empty()) {
      void* const memory = found->second.back();
      sizes_.emplace(memory, rounded);  // may throw, and then the block stays unused
      found->second.pop_back();
      --unused_count_;
      mark_reused(memory, rounded, stream_);
      return memory;
    }
  }
  Memory block(device_, stream_, rounded);
  const std::lock_guard lock(mutex_);
  sizes_.emplace(block.data(), rounded);
  return block.take();
}

void BlockCache::release(void* memory) noexcept {
  if (memory == nullptr) return;
  try {
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(memory);
    const size_t bytes = found->second;
    sizes_.erase(found);
    if (unused_count_ < kMostUnused) {
      unused_[bytes].push_back(memory);
      ++unused_count_;
      return;
    }
  } catch (const std::bad_alloc&) {
    // No memory on the host to remember the block.
  }
  sigma::cuda::release(device_, stream_, memory);
}

void BlockCache::flush() noexcept {
  const std::lock_guard lock(mutex_);
  for (auto& [bytes, blocks] : unused_) {
    for (void* const memory : blocks) sigma::cuda::release(device_, stream_, memory);
    blocks.clear();
  }
  unused_.clear();
  unused_count_ = 0;
}

size_t BlockCache::unused_bytes() noexcept {
  const std::lock_guard lock(mutex_);
  size_t sum = 0;
  for (const auto& [bytes, blocks] : unused_) sum += bytes * blocks.size();
  return sum;
}

void trim_pool(const Device& device) noexcept {
  try {
    const cudaMemPool_t pool = pool_of(device.index);
    if (pool != nullptr && cudaMemPoolTrimTo(pool, 0) != cudaSuccess) static_cast<void>(cudaGetLastError());
  } catch (const std::exception&) {
    // The pool stays as it is.
  }
}

void trim_memory(const Device& device) {
  {
    const std::lock_guard lock(caches().mutex);
    for (BlockCache* const cache : caches().all) {
      if (cache->device().index == device.index) cache->flush();
    }
  }
  check(cudaDeviceSynchronize(), "waiting for memory");
  const cudaMemPool_t pool = pool_of(device.index);
  if (pool != nullptr) check(cudaMemPoolTrimTo(pool, 0), "a memory pool");
}

void* allocate(const Device& device, cudaStream_t stream, size_t bytes) {
  bytes = std::max<size_t>(bytes, 1);
  const cudaMemPool_t pool = pool_of(device.index);
  void* memory = nullptr;
  cudaError_t error = try_allocate(pool, stream, bytes, &memory);
  if (error == cudaErrorMemoryAllocation) {
    // Memory released on other streams becomes free when they finish. Trimming removes fragmentation of the pool.
    trim_memory(device);
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
    free();
    constexpr size_t kStep = size_t{1} << 20;
    const size_t rounded = (std::max<size_t>(bytes, 1) + kStep - 1) / kStep * kStep;
    memory_ = Memory(device, stream, rounded);
    bytes_ = rounded;
  }
  return memory_.data();
}

}  // namespace sigma::cuda
