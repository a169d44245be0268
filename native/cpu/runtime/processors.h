// How many processors this process may use.
#pragma once

#include <string>

namespace sigma::cpu {

// The size of the affinity mask, or less if a control group limits the processor time; at least 1.
int usable_processors() noexcept;

// How many processors' time the control groups of this process allow; infinity if unlimited. `root` is a prefix for
// /proc and for the mount points; only tests set it.
double processor_quota(const std::string& root);

}  // namespace sigma::cpu
