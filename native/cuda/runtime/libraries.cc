#include "cuda/runtime/libraries.h"

#include <array>
#include <type_traits>

#include "cuda/runtime/installations.h"
#include "cuda/runtime/shared_library.h"
#include "cuda/runtime/text.h"

namespace sigma::cuda {
namespace {

// Library names of one CUDA major version. cuSOLVER depends on the first two. They are opened explicitly, because the
// loader does not search the folder of cuSOLVER.
struct Generation {
  int major;
  const char* jit_link;
  const char* sparse;
  const char* lt;
  const char* blas;
  const char* solver;
};
constexpr std::array<Generation, 2> kGenerations = {{
    {13, "libnvJitLink.so.13", "libcusparse.so.12", "libcublasLt.so.13", "libcublas.so.13", "libcusolver.so.12"},
    {12, "libnvJitLink.so.12", "libcusparse.so.12", "libcublasLt.so.12", "libcublas.so.12", "libcusolver.so.11"},
}};

#if CUDART_VERSION >= 13000
static_assert(std::is_same_v<decltype(&::cusolverDnXsyevBatched_bufferSize),
                             decltype(Libraries::cusolverDnXsyevBatched_bufferSize)>);
static_assert(std::is_same_v<decltype(&::cusolverDnXsyevBatched), decltype(Libraries::cusolverDnXsyevBatched)>);
#endif

void resolve_lt(Symbols s, Libraries& l) {
  s.require("cublasLtCreate", l.cublasLtCreate);
  s.require("cublasLtDestroy", l.cublasLtDestroy);
  s.require("cublasLtGetVersion", l.cublasLtGetVersion);
  s.require("cublasLtMatmul", l.cublasLtMatmul);
  s.require("cublasLtMatmulAlgoGetHeuristic", l.cublasLtMatmulAlgoGetHeuristic);
  s.require("cublasLtMatmulDescCreate", l.cublasLtMatmulDescCreate);
  s.require("cublasLtMatmulDescDestroy", l.cublasLtMatmulDescDestroy);
  s.require("cublasLtMatmulDescSetAttribute", l.cublasLtMatmulDescSetAttribute);
  s.require("cublasLtMatmulPreferenceCreate", l.cublasLtMatmulPreferenceCreate);
  s.require("cublasLtMatmulPreferenceDestroy", l.cublasLtMatmulPreferenceDestroy);
  s.require("cublasLtMatmulPreferenceSetAttribute", l.cublasLtMatmulPreferenceSetAttribute);
  s.require("cublasLtMatrixLayoutCreate", l.cublasLtMatrixLayoutCreate);
  s.require("cublasLtMatrixLayoutDestroy", l.cublasLtMatrixLayoutDestroy);
}

void resolve_blas(Symbols s, Libraries& l) {
  s.require("cublasCreate_v2", l.cublasCreate_v2);
  s.require("cublasDestroy_v2", l.cublasDestroy_v2);
  s.require("cublasSetStream_v2", l.cublasSetStream_v2);
  s.require("cublasSetWorkspace_v2", l.cublasSetWorkspace_v2);
  s.require("cublasSetMathMode", l.cublasSetMathMode);
  s.require("cublasGemmEx_64", l.cublasGemmEx_64);
  s.require("cublasGemmStridedBatchedEx_64", l.cublasGemmStridedBatchedEx_64);
  s.require("cublasDtrsm_v2_64", l.cublasDtrsm_v2_64);
}

void resolve_solver(Symbols s, Libraries& l) {
  s.require("cusolverGetProperty", l.cusolverGetProperty);
  s.require("cusolverDnCreate", l.cusolverDnCreate);
  s.require("cusolverDnDestroy", l.cusolverDnDestroy);
  s.require("cusolverDnSetStream", l.cusolverDnSetStream);
  s.require("cusolverDnCreateParams", l.cusolverDnCreateParams);
  s.require("cusolverDnDestroyParams", l.cusolverDnDestroyParams);
  s.require("cusolverDnCreateGesvdjInfo", l.cusolverDnCreateGesvdjInfo);
  s.require("cusolverDnDestroyGesvdjInfo", l.cusolverDnDestroyGesvdjInfo);
  s.require("cusolverDnSgesvdj_bufferSize", l.cusolverDnSgesvdj_bufferSize);
  s.require("cusolverDnDgesvdj_bufferSize", l.cusolverDnDgesvdj_bufferSize);
  s.require("cusolverDnSgesvdj", l.cusolverDnSgesvdj);
  s.require("cusolverDnDgesvdj", l.cusolverDnDgesvdj);
  s.require("cusolverDnSgesvdjBatched_bufferSize", l.cusolverDnSgesvdjBatched_bufferSize);
  s.require("cusolverDnDgesvdjBatched_bufferSize", l.cusolverDnDgesvdjBatched_bufferSize);
  s.require("cusolverDnSgesvdjBatched", l.cusolverDnSgesvdjBatched);
  s.require("cusolverDnDgesvdjBatched", l.cusolverDnDgesvdjBatched);
  s.require("cusolverDnXgesvdp_bufferSize", l.cusolverDnXgesvdp_bufferSize);
  s.require("cusolverDnXgesvdp", l.cusolverDnXgesvdp);
  s.require("cusolverDnXgesvd_bufferSize", l.cusolverDnXgesvd_bufferSize);
  s.require("cusolverDnXgesvd", l.cusolverDnXgesvd);
  s.require("cusolverDnXsyevd_bufferSize", l.cusolverDnXsyevd_bufferSize);
  s.require("cusolverDnXsyevd", l.cusolverDnXsyevd);
  s.require("cusolverDnDpotrf_bufferSize", l.cusolverDnDpotrf_bufferSize);
  s.require("cusolverDnDpotrf", l.cusolverDnDpotrf);
  s.require("cusolverDnDgeqrf_bufferSize", l.cusolverDnDgeqrf_bufferSize);
  s.require("cusolverDnDgeqrf", l.cusolverDnDgeqrf);
  s.require("cusolverDnDorgqr_bufferSize", l.cusolverDnDorgqr_bufferSize);
  s.require("cusolverDnDorgqr", l.cusolverDnDorgqr);
  s.optional("cusolverDnXsyevBatched_bufferSize", l.cusolverDnXsyevBatched_bufferSize);
  s.optional("cusolverDnXsyevBatched", l.cusolverDnXsyevBatched);
}

Libraries opened = {};
std::string opened_text;

std::string version_text(const Libraries& l, const std::string& location) {
  int solver[3] = {};
  l.cusolverGetProperty(MAJOR_VERSION, &solver[0]);
  l.cusolverGetProperty(MINOR_VERSION, &solver[1]);
  l.cusolverGetProperty(PATCH_LEVEL, &solver[2]);
  const auto number = [](auto part) { return std::to_string(part); };
  return "cuBLASLt " + library_version(l.cublasLtGetVersion()) + ", cuSOLVER " + number(solver[0]) + "." +
         number(solver[1]) + "." + number(solver[2]) + " from " + location;
}

// Only some versions of cuSOLVER need these and cannot find them.
void open_optional(const Installation& installation, const Generation& generation) {
  open(locate(installation, generation.jit_link));
  open(locate(installation, generation.sparse));
}

bool open_generation(const Installation& installation, const Generation& generation, Searched& searched) {
  const std::array<std::string, 3> paths = {locate(installation, generation.lt), locate(installation, generation.blas),
                                            locate(installation, generation.solver)};
  const std::array<const char*, 3> names = {generation.lt, generation.blas, generation.solver};
  for (size_t i = 0; i < paths.size(); ++i) {
    if (!paths[i].empty()) continue;
    searched.line(installation.name + ": no " + names[i]);
    return false;
  }
  std::array<void*, 3> handles = {};
  for (size_t i = 0; i < paths.size(); ++i) {
    // After cublasLt, whose name belongs to one generation only: libcusparse.so.12 is the name in two.
    if (i == 1) open_optional(installation, generation);
    handles[i] = open(paths[i]);
    if (handles[i] != nullptr) continue;
    searched.line(installation.name + ": " + loader_error());
    return false;
  }
  Libraries found = {};
  std::string missing;
  resolve_lt({handles[0], missing}, found);
  resolve_blas({handles[1], missing}, found);
  resolve_solver({handles[2], missing}, found);
  if (!missing.empty()) {
    searched.line(installation.name + ": the libraries lack " + missing);
    return false;
  }
  opened = found;
  opened_text = version_text(found, installation.name);
  searched.line(installation.name + ": " + names[0] + ", " + names[1] + ", " + names[2]);
  return true;
}

template <class Status>
[[noreturn]] void throw_status(const char* library, const char* what, Status status, bool memory) {
  throw LibraryFailure(memory ? SIGMA_OUT_OF_MEMORY : SIGMA_NATIVE,
                       std::string(what) + ": " + library +
                           (memory ? " ran out of memory" : " failed with status " + std::to_string(status)));
}

}  // namespace

void explain_scarcity(const LibraryFailure& failure) {
  constexpr size_t kHandle = size_t{64} << 20;
  size_t available = 0, total = 0;
  if (cudaMemGetInfo(&available, &total) != cudaSuccess || available >= kHandle) throw failure;
  throw LibraryFailure(SIGMA_OUT_OF_MEMORY, std::string(failure.what()) + "; the device has only " +
                                                std::to_string(available >> 20) + " MiB of memory left");
}

bool open_libraries(int driver_major, Searched& searched) {
  for (const Installation& installation : library_installations()) {
    for (const Generation& generation : kGenerations) {
      if (generation.major <= driver_major && open_generation(installation, generation, searched)) return true;
    }
  }
  return false;
}

const Libraries& libraries() { return opened; }

const char* libraries_text() { return opened_text.c_str(); }

void check(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw_status("cuBLAS", what, static_cast<int>(status), status == CUBLAS_STATUS_ALLOC_FAILED);
}

void check(cusolverStatus_t status, const char* what) {
  if (status == CUSOLVER_STATUS_SUCCESS) return;
  throw_status("cuSOLVER", what, static_cast<int>(status), status == CUSOLVER_STATUS_ALLOC_FAILED);
}

}  // namespace sigma::cuda
