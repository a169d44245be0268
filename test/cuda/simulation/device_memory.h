// The simulated device's memory: the host's, between guards, filled with rubbish when it is handed out and when it is
// given back. SIGMA_SIMULATED_MEMORY is its size in bytes.
#pragma once

#include <cstddef>

namespace sigma::simulation {

size_t memory_size();
size_t memory_free();
// Null where there is too little left.
void* allocate_device(size_t bytes);
void free_device(void* memory);
// Aborts unless all of the range lies in one live piece.
void require_device(const void* memory, size_t bytes, const char* call);
// Aborts if it begins within one.
void require_host(const void* memory, const char* call);

}  // namespace sigma::simulation

// For the stand-ins of the math libraries, which are objects of their own. Whether a range lies in one live piece.
extern "C" int sigma_simulated_device_memory(const void* memory, size_t bytes);
