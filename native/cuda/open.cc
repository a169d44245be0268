// The only symbol that this library exports. It checks whether the backend can be used, and prints nothing.
#include <cuda_runtime_api.h>

#include "contract/backend.h"
#include "cuda/runtime/driver.h"
#include "cuda/runtime/libraries.h"
#include "cuda/runtime/text.h"
#include "cuda/table.h"

namespace sigma::cuda {
namespace {

struct Finding {
  sigma_reason reason;
  std::string detail;
};

Finding find_runtime(Searched& searched) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaSuccess) return {SIGMA_AVAILABLE, ""};
  static_cast<void>(cudaGetLastError());
  const std::string text = cudaGetErrorString(error);
  searched.line("the CUDA runtime: " + text);
  const sigma_reason reason = error == cudaErrorInsufficientDriver ? SIGMA_DRIVER_TOO_OLD
                              : error == cudaErrorNoDevice         ? SIGMA_NO_DEVICE
                                                                   : SIGMA_NO_DRIVER;
  return {reason, "the CUDA runtime does not start: " + text + "; see whether nvidia-smi works"};
}

Finding find(Searched& searched) {
  const DriverFinding driver = find_devices(searched);
  if (driver.reason != SIGMA_AVAILABLE) return {driver.reason, driver.detail};
  const Finding runtime = find_runtime(searched);
  if (runtime.reason != SIGMA_AVAILABLE) return runtime;
  if (!open_libraries(driver.cuda_major, searched)) {
    const std::string libraries = driver.cuda_major >= 13 ? "13 or 12" : "12";
    const std::string packages =
        driver.cuda_major >= 13 ? "nvidia-cublas nvidia-cusolver" : "nvidia-cublas-cu12 nvidia-cusolver-cu12";
    return {SIGMA_NO_LIBRARY,
            "cuBLAS and cuSOLVER of CUDA " + libraries + " were not found; run `pip install " + packages +
                "` (or install the CUDA toolkit) and, if they lie elsewhere, set SIGMATUNE_CUDA_PATH to their folder"};
  }
  return {SIGMA_AVAILABLE, libraries_text()};
}

}  // namespace
}  // namespace sigma::cuda

extern "C" __attribute__((visibility("default"))) void sigma_open_backend(uint32_t abi_version, sigma_probe* probe) {
  using namespace sigma::cuda;
  if (abi_version != SIGMA_ABI_VERSION) {
    // Only the first field is the same in every version.
    probe->reason = SIGMA_ABI_MISMATCH;
    return;
  }
  *probe = {};
  probe->reason = SIGMA_NO_DRIVER;
  try {
    Searched searched;
    const Finding finding = find(searched);
    write_text(probe->detail, finding.detail);
    write_text(probe->searched, searched.text);
    probe->backend = finding.reason == SIGMA_AVAILABLE ? table() : nullptr;
    probe->reason = finding.reason;
  } catch (const std::exception& error) {
    write_text(probe->detail, std::string("looking for CUDA failed: ") + error.what());
  } catch (...) {
    write_text(probe->detail, "looking for CUDA failed");
  }
}
