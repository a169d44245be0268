#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "contract/backend.h"

namespace sigma::cuda {

// Queues means (count) of `vectors` (ranks, count) on a stream. Both are in memory of the current device.
void mean_of(cudaStream_t stream, sigma_real real, const void* vectors, int64_t ranks, int64_t count, void* means);

}  // namespace sigma::cuda
