// Simulated device memory: host memory between guards, filled with a pattern on allocation and on release.
// SIGMA_SIMULATED_MEMORY is its size in bytes. SIGMA_SIMULATED_POISON=0: no pattern on allocation, to time the host.
//
// As on a device, a pool keeps what is freed until it is trimmed, and memory freed on a stream can be allocated again
// on this stream at once, but elsewhere only after the work before it has run.
#pragma once

#include <cstddef>
#include <cstdint>

namespace sigma::simulation {

size_t memory_size();
// What neither an allocation nor the pool holds.
size_t memory_free();
// Null if there is not enough memory. `stream`: whose pending releases may be used, or null for memory outside the
// pool.
void* allocate_device(size_t bytes, const void* stream);
bool poisons();
// Fills new memory with the pattern.
void poison(void* memory, size_t bytes);
// Ends the lifetime of an allocation for later calls.
void begin_free(void* memory, const void* stream);
// Frees it, after the work queued before the release.
void end_free(void* memory);
// Returns the pool's free memory to the system, down to `kept` bytes.
void trim_pool(uint64_t kept);
// What a wait does: the same while the pool holds more than its release threshold.
void release_pool_above(uint64_t threshold);
// Aborts unless the whole range is in one live allocation.
void require_device(const void* memory, size_t bytes, const char* call);
// Aborts if `memory` is in a live allocation.
void require_host(const void* memory, const char* call);

}  // namespace sigma::simulation

// For the fake math libraries, which are separate shared objects. Whether a range is in one live allocation.
extern "C" int sigma_simulated_device_memory(const void* memory, size_t bytes);
// Bytes that neither an allocation nor the pool holds.
extern "C" size_t sigma_simulated_free_memory();
