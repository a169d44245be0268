// A backend in a shared library, which is opened once per process and never closed.
#pragma once

#include <string>

#include "contract/backend.h"

namespace sigma {

struct Plugin {
  std::string load_error;  // the loader's message if the library cannot be opened
  sigma_probe probe{};
};

// Opens the library at an absolute path. Later calls with the same path return the same result.
const Plugin& open_plugin(const std::string& path);

// The device backend of this process, the first that was opened; null before.
const sigma_backend* device_backend();

}  // namespace sigma
