// A fake NVIDIA driver, with the functions that the backend calls first. Tests of the probe load it as libcuda.so.1;
// the simulated backend links it. Environment variables configure it:
//   SIGMA_SIMULATED_DRIVER        supported CUDA version, 13000 for 13.0
//   SIGMA_SIMULATED_DRIVER_ERROR  result of cuInit, 0 for success
//   SIGMA_SIMULATED_DEVICES       number of devices
//   SIGMA_SIMULATED_CAPABILITY    compute capability of the devices, 90 for 9.0
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
