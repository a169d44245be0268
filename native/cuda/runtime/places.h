// Where NVIDIA's libraries may lie on a machine.
#pragma once

#include <string>
#include <vector>

namespace sigma::cuda {

// Folders that belong together, one toolkit or one set of pip wheels; none of them stands for the loader's own search.
struct Place {
  std::string name;
  std::vector<std::string> folders;
};

// In the order in which they are tried.
std::vector<Place> library_places();

}  // namespace sigma::cuda
