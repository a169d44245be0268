// Checks NVIDIA's driver first: without a driver, no CUDA function is called.
#pragma once

#include <string>
#include <vector>

#include "contract/backend.h"
#include "cuda/runtime/searched.h"

namespace sigma::cuda {

struct DriverFinding {
  sigma_reason reason;
  std::string detail;  // if no device is usable: one sentence with the reason and what to do
  int cuda_major = 0;  // the newest major version of CUDA that the driver serves
};

// Starts the driver and lists the supported devices.
DriverFinding find_devices(Searched& searched);

// The number of supported devices, and CUDA's device number of one of them.
int supported_devices();
int supported_device(int index);

}  // namespace sigma::cuda
