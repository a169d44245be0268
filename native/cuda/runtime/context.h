// The state of one environment on one GPU: a stream for all its work, library handles, and scratch memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "cuda/runtime/check.h"
#include "cuda/runtime/device.h"

struct sigma_context {
  explicit sigma_context(int device);
  // Waits for the queued work.
  ~sigma_context();
  sigma_context(const sigma_context&) = delete;
  sigma_context& operator=(const sigma_context&) = delete;

  const sigma::cuda::Device& device() const;
  cudaStream_t stream() const;
  // Makes this context's device the current device of the thread.
  void activate() const;
  // Scratch memory for the recipes (the table's `reserve`), valid until the next call.
  void* reserve(size_t bytes);
  // Scratch memory for one operation, separate from `reserve`, valid until the next call.
  void* scratch(size_t bytes);
  // Counters that are 0, and that the next operation leaves at 0, valid until the next call.
  unsigned* tickets(int64_t count);
  // Bytes of scratch memory and unused blocks.
  size_t kept_bytes() const;
  // Frees them after the work queued so far.
  void trim() noexcept;
  // Records a queued operation for error messages. The text must be static.
  void queued(const char* operation);

  void upload(void* to, const void* from, size_t bytes);
  // May be called from any thread. They wait for the work queued so far. If the device failed, they throw and name the
  // operations queued since the last wait.
  void download(void* to, const void* from, size_t bytes);
  void synchronize();
  // Rethrows a failure of earlier work, with the names of the operations that may have caused it.
  [[noreturn]] void explain(const sigma::cuda::CudaFailure& failure);

  struct State;
  State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};
