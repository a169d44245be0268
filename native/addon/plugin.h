// A backend in a shared library of its own, opened once for the process and never closed.
#pragma once

#include <string>

#include "contract/backend.h"

namespace sigma {

struct Plugin {
  std::string load_error;  // what the loader said where the library could not be opened
  sigma_probe probe{};
};

// The library at an absolute path. Later calls with the same path give the same answer.
const Plugin& open_plugin(const std::string& path);

}  // namespace sigma
