#pragma once

#include <cstddef>

namespace sigma::cuda {

// What decides how kernels are launched and which SVD routine is fast.
struct Device {
  int index = 0;
  int multiprocessors = 1;
  size_t shared_bytes = 0;  // shared memory that one block may ask for
  int float_to_double = 1;  // how many times faster float32 arithmetic is than float64
  int major = 0, minor = 0;
};

// Device `index` as device_count() counts them.
Device describe_device(int index);

}  // namespace sigma::cuda
