// Copies between host and device through pinned memory, because only such copies are asynchronous.
#pragma once

#include <array>
#include <mutex>

#include "cuda/runtime/handles.h"

namespace sigma::cuda {

// Host to device, through a ring of pinned chunks. Waits before it reuses a chunk that is still being read.
class Uploader {
 public:
  // `from` may be overwritten once this returns. The copy is ordered on `stream`.
  void copy(cudaStream_t stream, void* to, const void* from, size_t bytes);

 private:
  static constexpr size_t kChunk = size_t{4} << 20;
  struct Chunk {
    PinnedMemory memory;
    Event read;  // recorded when the chunk is full
    bool pending = false;
  };
  std::byte* room(cudaStream_t stream, size_t bytes);

  std::array<Chunk, 4> chunks_;
  size_t current_ = 0;
  size_t used_ = 0;  // bytes of the current chunk
};

// Device to host. Thread-safe. Uses a separate stream, so that it does not wait for work queued later.
class Downloader {
 public:
  // Waits for the work queued on `source`, then copies. Returns the error of the device.
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
