// Where to search for NVIDIA's libraries.
#pragma once

#include <string>
#include <vector>

namespace sigma::cuda {

// The folders of one CUDA toolkit or one set of pip wheels. No folders: the search path of the loader.
struct Installation {
  std::string name;
  std::vector<std::string> folders;
};

// In search order.
std::vector<Installation> library_installations();

}  // namespace sigma::cuda
