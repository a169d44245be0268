// How NVIDIA's libraries are found in an installation, opened and searched for functions.
#pragma once

#include <dlfcn.h>
#include <unistd.h>

#include <string>

#include "cuda/runtime/installations.h"

namespace sigma::cuda {

// The path of a library in an installation, its bare name for the loader to search, or "" if it is missing.
inline std::string locate(const Installation& installation, const char* name) {
  if (installation.folders.empty()) return name;
  for (const std::string& folder : installation.folders) {
    const std::string path = folder + "/" + name;
    if (access(path.c_str(), R_OK) == 0) return path;
  }
  return "";
}

inline void* open(const std::string& path) {
  return path.empty() ? nullptr : dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
}

inline std::string loader_error() {
  const char* const text = dlerror();
  return text == nullptr ? "the loader gives no reason" : text;
}

// Resolves functions of one library by name; records the first that is missing.
class Symbols {
 public:
  Symbols(void* library, std::string& missing) : library_(library), missing_(missing) {}
  template <class Function>
  void require(const char* name, Function& function) {
    optional(name, function);
    if (function == nullptr && missing_.empty()) missing_ = name;
  }
  template <class Function>
  void optional(const char* name, Function& function) {
    function = reinterpret_cast<Function>(dlsym(library_, name));
  }

 private:
  void* library_;
  std::string& missing_;
};

}  // namespace sigma::cuda
