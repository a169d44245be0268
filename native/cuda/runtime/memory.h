// Stream-ordered device memory from one pool per device and process.
#pragma once

#include <cuda_runtime_api.h>

#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "cuda/runtime/device.h"

namespace sigma::cuda {

// Throws OUT_OF_MEMORY if the device has no memory left; later calls still work.
void* allocate(const Device& device, cudaStream_t stream, size_t bytes);
// Takes effect after the work queued on the stream so far.
void release(const Device& device, cudaStream_t stream, void* memory) noexcept;

// Blocks that one context has released, for its next allocations of the same sizes: a training step then asks CUDA for
// none. Work on one stream uses a block in order, so a block may be taken while queued work still reads it. If any
// allocation on the device fails, all caches give their blocks back.
class BlockCache {
 public:
  BlockCache(const Device& device, cudaStream_t stream);
  ~BlockCache();
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  void* allocate(size_t bytes);
  void release(void* memory) noexcept;
  // Gives all unused blocks back. May be called from any thread.
  void flush() noexcept;
  // Bytes of the unused blocks.
  size_t unused_bytes() noexcept;
  const Device& device() const { return device_; }

 private:
  const Device& device_;
  cudaStream_t stream_;
  std::mutex mutex_;
  std::unordered_map<void*, size_t> sizes_;                // of the blocks in use
  std::unordered_map<size_t, std::vector<void*>> unused_;  // by size
  size_t unused_count_ = 0;
};

// Flushes the caches, waits for the device and returns the pool's unused memory to the system, for others that
// allocate.
void trim_memory(const Device& device);
// Returns the pool's unused memory to the system, without a wait.
void trim_pool(const Device& device) noexcept;

// RAII owner of a block of device memory.
class Memory {
 public:
  Memory() = default;
  Memory(const Device& device, cudaStream_t stream, size_t bytes)
      : device_(&device), stream_(stream), data_(allocate(device, stream, bytes)) {}
  Memory(Memory&& other) noexcept { swap(other); }
  Memory& operator=(Memory&& other) noexcept {
    swap(other);
    return *this;
  }
  ~Memory() { free(); }
  void* data() const { return data_; }
  void free() noexcept {
    if (data_ != nullptr) release(*device_, stream_, data_);
    data_ = nullptr;
  }
  // Gives the ownership to the caller.
  void* take() noexcept { return std::exchange(data_, nullptr); }

 private:
  void swap(Memory& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(stream_, other.stream_);
    std::swap(data_, other.data_);
  }

  const Device* device_ = nullptr;
  cudaStream_t stream_ = nullptr;
  void* data_ = nullptr;
};

// A block that grows until it is freed. Growing loses the contents.
class GrowingMemory {
 public:
  void* at_least(const Device& device, cudaStream_t stream, size_t bytes);
  size_t bytes() const { return bytes_; }
  // Takes effect after the work queued so far.
  void free() noexcept {
    memory_.free();
    bytes_ = 0;
  }

 private:
  Memory memory_;
  size_t bytes_ = 0;
};

}  // namespace sigma::cuda
