// Copies between the host and a device by way of pinned memory: those alone are truly asynchronous.
#pragma once

#include <array>
#include <mutex>

#include "cuda/runtime/handles.h"

namespace sigma::cuda {

// Host to device. Chunks of pinned memory are filled in turn; one that is still being read is waited for.
class Uploader {
 public:
  // Returns when `from` may be written again; the copy itself is in the order of `stream`.
  void copy(cudaStream_t stream, void* to, const void* from, size_t bytes);

 private:
  static constexpr size_t kChunk = size_t{4} << 20;
  struct Chunk {
    PinnedMemory memory;
    Event read;  // recorded when the chunk was full
    bool pending = false;
  };
  std::byte* room(cudaStream_t stream, size_t bytes);

  std::array<Chunk, 4> chunks_;
  size_t current_ = 0;
  size_t used_ = 0;  // bytes of the current chunk
};

// Device to host, from any thread, on a stream of its own, so that work queued later need not be waited for.
class Downloader {
 public:
  // Waits for what is queued on `source` and copies. Returns the device's error, if there is one.
  cudaError_t copy(cudaStream_t source, void* to, const void* from, size_t bytes);

 private:
  static constexpr size_t kChunk = size_t{4} << 20;
  struct Chunk {
    PinnedMemory memory;
    Event written;
  };

  std::mutex mutex_;
  Stream stream_;
  Event ready_;
  std::array<Chunk, 2> chunks_;
};

}  // namespace sigma::cuda
