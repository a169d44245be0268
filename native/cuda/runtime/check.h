// CUDA runtime errors as exceptions.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "contract/failure.h"

namespace sigma::cuda {

class CudaFailure : public Failure {
 public:
  CudaFailure(cudaError_t error, const std::string& message);
  cudaError_t error() const noexcept { return error_; }

 private:
  cudaError_t error_;
};

// Throws if a CUDA call failed; `what` is the operation.
void check(cudaError_t error, const char* what);

// The text and the number of an error.
std::string described(cudaError_t error);

}  // namespace sigma::cuda
