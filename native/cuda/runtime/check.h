// Failures of the CUDA runtime as exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "contract/failure.h"

namespace sigma::cuda {

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

// An error in words, with its number.
std::string described(cudaError_t error);

}  // namespace sigma::cuda
