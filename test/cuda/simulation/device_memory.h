// Simulated device memory: host memory between guards, filled with a pattern on allocation and on release.
// SIGMA_SIMULATED_MEMORY is its size in bytes.
#pragma once

#include <cstddef>

namespace sigma::simulation {

size_t memory_size();
size_t memory_free();
// Null if there is not enough memory.
void* allocate_device(size_t bytes);
void free_device(void* memory);
// Aborts unless the whole range is in one live allocation.
void require_device(const void* memory, size_t bytes, const char* call);
// Aborts if `memory` is in a live allocation.
void require_host(const void* memory, const char* call);

}  // namespace sigma::simulation

// For the fake math libraries, which are separate shared objects. Whether a range is in one live allocation.
extern "C" int sigma_simulated_device_memory(const void* memory, size_t bytes);
