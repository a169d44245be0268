#include "cuda/runtime/check.h"

namespace sigma::cuda {

std::string described(cudaError_t error) {
  return std::string(cudaGetErrorString(error)) + " (CUDA error " + std::to_string(static_cast<int>(error)) + ")";
}

CudaFailure::CudaFailure(cudaError_t error, const std::string& message)
    : Failure(error == cudaErrorMemoryAllocation ? SIGMA_OUT_OF_MEMORY : SIGMA_NATIVE, message), error_(error) {}

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());  // clears the error, or a later call would report it
  throw CudaFailure(error, std::string(what) + ": " + described(error));
}

}  // namespace sigma::cuda
