#pragma once

#include <cstddef>

namespace sigma::cpu {

// At least `bytes` bytes of uninitialised memory of this thread, valid until its next call. Reused, because page faults
// cost more than filling a slab. Null if there is no memory.
void* thread_scratch(size_t bytes) noexcept;

}  // namespace sigma::cpu
