// The functions of NVIDIA's driver that the backend asks before it touches anything else. As libcuda.so.1 it stands in
// for a driver in tests of the probe; the simulated backend has it linked in. The environment tells what it plays:
//   SIGMA_SIMULATED_DRIVER        the CUDA version that it serves, 13000 for 13.0
//   SIGMA_SIMULATED_DRIVER_ERROR  what cuInit answers, 0 for success
//   SIGMA_SIMULATED_DEVICES       how many devices there are
//   SIGMA_SIMULATED_CAPABILITY    their compute capability, 90 for 9.0
#include <cuda.h>

#include <cstring>

#include "../misuse.h"

using sigma::simulation::setting;

#pragma GCC visibility push(default)
extern "C" {

CUresult CUDAAPI cuInit(unsigned int) {
  return static_cast<CUresult>(setting("SIGMA_SIMULATED_DRIVER_ERROR", CUDA_SUCCESS));
}

CUresult CUDAAPI cuDriverGetVersion(int* version) {
  *version = static_cast<int>(setting("SIGMA_SIMULATED_DRIVER", CUDA_VERSION));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetCount(int* count) {
  *count = static_cast<int>(setting("SIGMA_SIMULATED_DEVICES", 1));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGet(CUdevice* device, int index) {
  *device = index;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetAttribute(int* value, CUdevice_attribute attribute, CUdevice) {
  const int capability = static_cast<int>(setting("SIGMA_SIMULATED_CAPABILITY", 90));
  *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR ? capability / 10 : capability % 10;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetName(char* name, int length, CUdevice) {
  std::strncpy(name, "simulated device", static_cast<size_t>(length));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGetErrorName(CUresult, const char** name) {
  *name = "CUDA_ERROR_SIMULATED";
  return CUDA_SUCCESS;
}

}  // extern "C"
#pragma GCC visibility pop
