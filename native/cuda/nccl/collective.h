// The table of contract/collective.h, on NCCL.
#pragma once

#include "contract/collective.h"

namespace sigma::cuda {

extern const sigma_collective kCollective;

}  // namespace sigma::cuda
