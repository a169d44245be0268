#include "cuda/runtime/installations.h"

#include <dlfcn.h>
#include <glob.h>

#include <algorithm>
#include <cstdlib>
#include <functional>

namespace sigma::cuda {
namespace {

#ifdef SIGMA_SIMULATED
constexpr bool kSimulated = true;
#else
constexpr bool kSimulated = false;
#endif

// An absolute path from the environment, or "". Ignores relative paths: the working directory must not decide which
// library is loaded.
std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr || value[0] != '/' ? "" : value;
}

std::vector<std::string> matches(const std::string& pattern) {
  std::vector<std::string> found;
  glob_t result = {};
  if (glob(pattern.c_str(), GLOB_NOSORT, nullptr, &result) == 0) {
    found.assign(result.gl_pathv, result.gl_pathv + result.gl_pathc);
  }
  globfree(&result);
  // Newest version first, by name.
  std::sort(found.begin(), found.end(), std::greater<>());
  return found;
}

#if defined(__aarch64__)
constexpr const char* kTargets = "/targets/sbsa-linux/lib";
#else
constexpr const char* kTargets = "/targets/x86_64-linux/lib";
#endif

void add_toolkit(std::vector<Installation>& installations, const std::string& root) {
  if (root.empty()) return;
  installations.push_back({root, {root + "/lib64", root + kTargets, root + "/lib"}});
}

// CUDA 13's wheels share one folder; each of CUDA 12's wheels has a separate folder.
void add_wheels(std::vector<Installation>& installations, const std::string& packages) {
  for (const std::string& root : matches(packages + "/nvidia")) {
    installations.push_back({root + "/cu13/lib", {root + "/cu13/lib"}});
    const std::vector<std::string> folders = matches(root + "/*/lib");
    if (!folders.empty()) installations.push_back({root + "/*/lib", folders});
  }
}

void add_python(std::vector<Installation>& installations, const std::string& prefix) {
  if (prefix.empty()) return;
  add_wheels(installations, prefix + "/lib/python3*/site-packages");
  add_wheels(installations, prefix + "/lib64/python3*/site-packages");  // RHEL, Fedora and SUSE
  add_wheels(installations, prefix + "/lib/python3*/dist-packages");
}

// The folder of this library: a bundle may contain NVIDIA's libraries.
std::string own_folder() {
  Dl_info info = {};
  static const char here = 0;
  if (dladdr(&here, &info) == 0 || info.dli_fname == nullptr) return "";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

}  // namespace

std::vector<Installation> library_installations() {
  std::vector<Installation> installations;
  // An explicit folder excludes all others.
  const std::string given = variable("SIGMATUNE_CUDA_PATH");
  if (!given.empty()) {
    return {{given, {given, given + "/lib64", given + kTargets, given + "/lib"}}};
  }
  const std::string own = own_folder();
  if (!own.empty()) installations.push_back({own, {own}});
  if (kSimulated) return installations;  // the real libraries need device memory
  installations.push_back({"the loader's own search", {}});
  for (const std::string& root : matches("/usr/local/cuda*")) add_toolkit(installations, root);
  add_toolkit(installations, variable("CUDA_HOME"));
  add_toolkit(installations, variable("CUDA_PATH"));
  add_python(installations, variable("VIRTUAL_ENV"));
  add_python(installations, variable("CONDA_PREFIX"));
  add_toolkit(installations, variable("CONDA_PREFIX"));
  const std::string home = variable("HOME");
  if (!home.empty()) add_python(installations, home + "/.local");
  for (const char* const prefix : {"/usr/local", "/usr", "/opt/conda"}) add_python(installations, prefix);
  add_wheels(installations, "/usr/lib/python3/dist-packages");
  return installations;
}

}  // namespace sigma::cuda
