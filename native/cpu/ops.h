// The operations of the CPU backend, one file each. They throw; backend.cc turns exceptions into statuses. Equations
// and shapes are in contract/backend.h.
#pragma once

#include "contract/backend.h"

namespace sigma::cpu {

#define SIGMA_DECLARE(operation) void operation(const sigma_##operation& call);
SIGMA_OPERATIONS(SIGMA_DECLARE)
#undef SIGMA_DECLARE

}  // namespace sigma::cpu
