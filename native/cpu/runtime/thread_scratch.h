#pragma once

#include <cstddef>

namespace sigma::cpu {

// This thread's scratch memory, at least so large; what it held is lost. Kept, since new pages cost more than a slab.
// Null if there is no memory.
void* thread_scratch(size_t bytes) noexcept;

}  // namespace sigma::cpu
