// What one environment owns on one GPU: a stream, in which all its work is queued, handles of the math libraries, and
// scratch memory.
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
  // Waits for what is queued.
  ~sigma_context();
  sigma_context(const sigma_context&) = delete;
  sigma_context& operator=(const sigma_context&) = delete;

  const sigma::cuda::Device& device() const;
  cudaStream_t stream() const;
  // Makes this context's device the calling thread's.
  void activate() const;
  // The recipes' scratch memory (the table's `reserve`); valid until the next one.
  void* reserve(size_t bytes);
  // Scratch memory of one operation, apart from the recipes'; valid until the next one.
  void* scratch(size_t bytes);
  // Remembers that `operation` was queued, so that a failure of the device can be told by name. The text must be
  // static.
  void queued(const char* operation);

  void upload(void* to, const void* from, size_t bytes);
  // These two may be called from any thread. They wait for the work queued so far and throw what the device reports,
  // naming what was queued since something last waited.
  void download(void* to, const void* from, size_t bytes);
  void synchronize();
  // A failure that a later call has met: throws it with the names of what may have caused it.
  [[noreturn]] void explain(const sigma::cuda::CudaFailure& failure);

  struct State;
  State& state() const { return *state_; }

 private:
  std::unique_ptr<State> state_;
};
