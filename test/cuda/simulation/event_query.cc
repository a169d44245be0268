// Asks whether an event has happened. On the simulation it then has: work runs when someone waits for it.
// SIGMA_SIMULATED_STUCK=1: it never happens, as after a kernel that waits for another rank for ever.
#include <cuda_runtime_api.h>

#include "misuse.h"

extern "C" cudaError_t cudaEventQuery(cudaEvent_t event) {
  if (sigma::simulation::setting("SIGMA_SIMULATED_STUCK", 0) != 0) return cudaErrorNotReady;
  return cudaEventSynchronize(event);
}
