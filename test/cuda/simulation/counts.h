// What the backend asks of the device. SIGMA_SIMULATED_COUNTS=<file>: also written to this file, as seven 64-bit
// integers in this order, so that a test in another language can read them.
#pragma once

#include <atomic>
#include <cstdint>

namespace sigma::simulation {

struct Counts {
  std::atomic<uint64_t> kernels, products, copies, fills, allocations, growths, waits;
};

Counts& counts();

}  // namespace sigma::simulation

// For the fake math libraries and the checks: one more product, and the address of the counts.
extern "C" void sigma_simulated_count_product();
extern "C" const sigma::simulation::Counts* sigma_simulated_counts();
