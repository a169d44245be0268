// How many processors this process may use.
#pragma once

#include <string>

namespace sigma::cpu {

// Those of the affinity mask, or fewer if a control group allows less processor time; at least 1.
int usable_processors() noexcept;

// Processors' worth of time that the control groups of this process allow; infinity without a limit. `root` is the
// folder that /proc and the mounted control groups are looked for in: "" outside of tests.
double processor_quota(const std::string& root);

}  // namespace sigma::cpu
