#include "cuda/runtime/driver.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdlib>

#include "contract/failure.h"

namespace sigma::cuda {
namespace {

// The oldest compute capability that the kernels are compiled for.
constexpr int kLeastMajor = 7, kLeastMinor = 5;

// The linked CUDA runtime needs a driver of at least its own major version.
constexpr int kNeededMajor = CUDART_VERSION / 1000;
constexpr const char* kNeededDriver = kNeededMajor >= 13 ? "580" : "525";
constexpr const char* kOlderBackend =
    kNeededMajor >= 13 ? ", or install @sigmatune/cuda12-linux-x64, which r525 and newer serve" : "";

struct Driver {
  decltype(&::cuInit) init = nullptr;
  decltype(&::cuDriverGetVersion) version = nullptr;
  decltype(&::cuDeviceGetCount) count = nullptr;
  decltype(&::cuDeviceGet) device = nullptr;
  decltype(&::cuDeviceGetAttribute) attribute = nullptr;
  decltype(&::cuDeviceGetName) name = nullptr;
  decltype(&::cuGetErrorName) error_name = nullptr;

  bool complete() const {
    return init != nullptr && version != nullptr && count != nullptr && device != nullptr && attribute != nullptr &&
           name != nullptr && error_name != nullptr;
  }
};

#ifdef SIGMA_SIMULATED
// The simulated driver is linked in. The variable simulates a machine without a driver.
bool open_driver(Driver& driver, Searched& searched) {
  const char* const version = std::getenv("SIGMA_SIMULATED_DRIVER");
  if (version != nullptr && std::string(version) == "none") {
    searched.line("libcuda.so.1: not there (simulated)");
    return false;
  }
  driver = {cuInit,          cuDriverGetVersion, cuDeviceGetCount, cuDeviceGet, cuDeviceGetAttribute,
            cuDeviceGetName, cuGetErrorName};
  return true;
}
#else
template <class Function>
void resolve(void* library, const char* name, Function& function) {
  function = reinterpret_cast<Function>(dlsym(library, name));
}

bool open_driver(Driver& driver, Searched& searched) {
  // The loader may not search the WSL folder.
  for (const char* const path : {"libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"}) {
    void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
      const char* const error = dlerror();
      searched.line(error == nullptr ? path : error);
      continue;
    }
    resolve(library, "cuInit", driver.init);
    resolve(library, "cuDriverGetVersion", driver.version);
    resolve(library, "cuDeviceGetCount", driver.count);
    resolve(library, "cuDeviceGet", driver.device);
    resolve(library, "cuDeviceGetAttribute", driver.attribute);
    resolve(library, "cuDeviceGetName", driver.name);
    resolve(library, "cuGetErrorName", driver.error_name);
    if (driver.complete()) return true;
    searched.line(std::string(path) + ": lacks functions of the driver interface");
  }
  return false;
}
#endif

std::string error_text(const Driver& driver, CUresult error) {
  const char* name = nullptr;
  driver.error_name(error, &name);
  return (name == nullptr ? "an unknown error" : std::string(name)) + " (" + std::to_string(static_cast<int>(error)) +
         ")";
}

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string visible_devices() {
  const char* const visible = std::getenv("CUDA_VISIBLE_DEVICES");
  return visible == nullptr ? "" : " (CUDA_VISIBLE_DEVICES is '" + std::string(visible) + "')";
}

std::vector<int>& supported() {
  static std::vector<int>& devices = *new std::vector<int>;
  return devices;
}

DriverFinding no_device(const std::string& found) {
  return {SIGMA_NO_DEVICE, found + visible_devices() + "; expected an NVIDIA GPU of compute capability " +
                               std::to_string(kLeastMajor) + "." + std::to_string(kLeastMinor) + " or newer"};
}

DriverFinding list_devices(const Driver& driver, Searched& searched) {
  int count = 0;
  const CUresult error = driver.count(&count);
  if (error != CUDA_SUCCESS) return no_device("the driver failed to list devices: " + error_text(driver, error));
  supported().clear();
  for (int index = 0; index < count; ++index) {
    CUdevice device = 0;
    char name[128] = "";
    int major = 0, minor = 0;
    if (driver.device(&device, index) != CUDA_SUCCESS) continue;
    driver.name(name, sizeof(name) - 1, device);
    driver.attribute(&major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device);
    driver.attribute(&minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device);
    const bool served = major > kLeastMajor || (major == kLeastMajor && minor >= kLeastMinor);
    if (served) supported().push_back(index);
    searched.line("device " + std::to_string(index) + ": " + name + ", compute capability " + std::to_string(major) +
                  "." + std::to_string(minor) + (served ? "" : ", too old"));
  }
  if (!supported().empty()) return {SIGMA_AVAILABLE, ""};
  return no_device(count == 0 ? "the driver sees no GPU" : "every GPU is too old");
}

}  // namespace

DriverFinding find_devices(Searched& searched) {
  Driver driver;
  if (!open_driver(driver, searched)) {
    return {SIGMA_NO_DRIVER,
            std::string("the NVIDIA driver's library libcuda.so.1 was not found; install the driver, r") +
                kNeededDriver + " or newer, or start the container with GPU access"};
  }
  // Checked before cuInit, because an old version is the most likely reason for cuInit to fail.
  int version = 0;
  driver.version(&version);
  searched.line("libcuda.so.1: the driver serves CUDA " + version_text(version));
  if (version != 0 && version / 1000 < kNeededMajor) {
    return {SIGMA_DRIVER_TOO_OLD, "the NVIDIA driver serves CUDA " + version_text(version) + ", expected CUDA " +
                                      std::to_string(kNeededMajor) + ": update the driver to r" + kNeededDriver +
                                      " or newer" + kOlderBackend};
  }
  const CUresult started = driver.init(0);
  if (started == CUDA_ERROR_NO_DEVICE) return no_device("the driver sees no GPU");
  if (started != CUDA_SUCCESS) {
    return {SIGMA_NO_DRIVER, "the NVIDIA driver does not start: " + error_text(driver, started) +
                                 "; check whether nvidia-smi works, and restart the machine after a driver update"};
  }
  DriverFinding finding = list_devices(driver, searched);
  finding.cuda_major = version / 1000;
  return finding;
}

int supported_devices() { return static_cast<int>(supported().size()); }

int supported_device(int index) {
  if (index < 0 || index >= supported_devices()) {
    throw Failure(SIGMA_INVALID_ARGUMENT,
                  "expected a device below " + std::to_string(supported_devices()) + ", got " + std::to_string(index));
  }
  return supported()[static_cast<size_t>(index)];
}

}  // namespace sigma::cuda
