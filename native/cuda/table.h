// The backend's table, filled.
#pragma once

#include "backend.h"

namespace sigma::cuda {

const sigma_backend* table();

}  // namespace sigma::cuda
