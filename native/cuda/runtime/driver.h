// NVIDIA's driver, looked at before anything else: without it nothing of CUDA is touched.
#pragma once

#include <string>
#include <vector>

#include "contract/backend.h"
#include "cuda/runtime/searched.h"

namespace sigma::cuda {

struct DriverFinding {
  sigma_reason reason;
  std::string detail;  // one sentence that helps, where there is no device to use
};

// Starts the driver and lists the devices that this backend serves.
DriverFinding find_devices(Searched& searched);

// How many there are, and CUDA's own number of one of them.
int supported_devices();
int supported_device(int index);

}  // namespace sigma::cuda
