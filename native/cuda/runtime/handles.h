// RAII owners of CUDA runtime handles. A handle belongs to the device that is current when it is created.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <utility>

#include "cuda/runtime/check.h"

namespace sigma::cuda {

// Owns a handle and calls `destroy` on it. Ignores failures of `destroy`.
template <class Handle, auto destroy>
class UniqueHandle {
 public:
  UniqueHandle() = default;
  explicit UniqueHandle(Handle handle) : handle_(handle) {}
  UniqueHandle(UniqueHandle&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  UniqueHandle& operator=(UniqueHandle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~UniqueHandle() {
    if (handle_ != nullptr) destroy(handle_);
  }
  Handle get() const { return handle_; }
  explicit operator bool() const { return handle_ != nullptr; }

 private:
  Handle handle_ = nullptr;
};

using Stream = UniqueHandle<cudaStream_t, cudaStreamDestroy>;
using Event = UniqueHandle<cudaEvent_t, cudaEventDestroy>;
using PinnedMemory = UniqueHandle<void*, cudaFreeHost>;

inline Stream make_stream() {
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
  return Stream(stream);
}

// A thread that waits for it sleeps instead of spinning.
inline Event make_event() {
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync), "an event");
  return Event(event);
}

// Waits for the work queued on a stream so far, in the same way; without memory for an event it spins. May be called
// from any thread.
inline cudaError_t wait_for(cudaStream_t stream) {
  cudaEvent_t made = nullptr;
  cudaError_t error = cudaEventCreateWithFlags(&made, cudaEventDisableTiming | cudaEventBlockingSync);
  const Event reached(made);
  if (error == cudaSuccess) error = cudaEventRecord(made, stream);
  if (error == cudaSuccess) return cudaEventSynchronize(made);
  static_cast<void>(cudaGetLastError());
  return cudaStreamSynchronize(stream);
}

inline PinnedMemory make_pinned(size_t bytes) {
  void* memory = nullptr;
  check(cudaHostAlloc(&memory, bytes, cudaHostAllocDefault), "pinned memory");
  return PinnedMemory(memory);
}

}  // namespace sigma::cuda
