// What one environment owns on one GPU: a stream, in which all its work is queued, handles of the math libraries, and
// scratch memory.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "contract/failure.h"

namespace sigma::cuda {

// What decides how kernels are launched and which SVD routine is fast.
struct Device {
  int index = 0;
  int multiprocessors = 1;
  size_t shared_bytes = 0;  // shared memory that one block may ask for
  int float_to_double = 1;  // how many times faster float32 arithmetic is than float64
  int major = 0, minor = 0;
};

// A call of the runtime that failed.
class CudaFailure : public Failure {
 public:
  CudaFailure(cudaError_t error, const std::string& message);
  cudaError_t error() const noexcept { return error_; }

 private:
  cudaError_t error_;
};

// Throws what a CUDA error stands for; `what` is the operation that met it.
void check(cudaError_t error, const char* what);

}  // namespace sigma::cuda

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
