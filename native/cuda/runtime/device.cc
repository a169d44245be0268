#include "cuda/runtime/device.h"

#include "cuda/runtime/check.h"
#include "cuda/runtime/driver.h"

namespace sigma::cuda {
namespace {

int attribute(cudaDeviceAttr which, int device) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, device), "the device's attributes");
  return value;
}

}  // namespace

Device describe_device(int index) {
  Device device;
  device.index = supported_device(index);
  device.multiprocessors = attribute(cudaDevAttrMultiProcessorCount, device.index);
  device.shared_bytes = static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device.index));
  device.float_to_double = attribute(cudaDevAttrSingleToDoublePrecisionPerfRatio, device.index);
  device.major = attribute(cudaDevAttrComputeCapabilityMajor, device.index);
  device.minor = attribute(cudaDevAttrComputeCapabilityMinor, device.index);
  return device;
}

}  // namespace sigma::cuda
