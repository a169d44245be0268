// The table of the CUDA backend.
#pragma once

#include "contract/backend.h"

namespace sigma::cuda {

const sigma_backend* table();

}  // namespace sigma::cuda
