// The operations of the CPU backend, one file each; they throw, backend.cc turns that into statuses. Equations and
// shapes stand in contract/backend.h.
#pragma once

#include "contract/backend.h"

namespace sigma::cpu {

#define SIGMA_DECLARE(operation) void operation(const sigma_##operation& call);
SIGMA_OPERATIONS(SIGMA_DECLARE)
#undef SIGMA_DECLARE

}  // namespace sigma::cpu
