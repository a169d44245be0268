#pragma once

#include <cstddef>

namespace sigma::cuda {

// Device properties that determine launch configurations and the choice of SVD routines.
struct Device {
  int index = 0;
  int multiprocessors = 1;
  size_t shared_bytes = 0;  // maximum shared memory per block
  int float_to_double = 1;  // throughput of float32 relative to float64
  int major = 0, minor = 0;
};

// The device with this index among the supported devices.
Device describe_device(int index);

}  // namespace sigma::cuda
