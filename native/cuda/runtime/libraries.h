// cuBLASLt, cuBLAS and cuSOLVER, loaded at run time, so that the backend can report if they are missing.
#pragma once

#include <cublasLt.h>
#include <cublas_v2.h>
#include <cusolverDn.h>

#include <string>

#include "cuda/runtime/handles.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/searched.h"

namespace sigma::cuda {

// The functions that the backend calls.
struct Libraries {
  decltype(&::cublasLtCreate) cublasLtCreate;
  decltype(&::cublasLtDestroy) cublasLtDestroy;
  decltype(&::cublasLtGetVersion) cublasLtGetVersion;
  decltype(&::cublasLtMatmul) cublasLtMatmul;
  decltype(&::cublasLtMatmulAlgoGetHeuristic) cublasLtMatmulAlgoGetHeuristic;
  decltype(&::cublasLtMatmulDescCreate) cublasLtMatmulDescCreate;
  decltype(&::cublasLtMatmulDescDestroy) cublasLtMatmulDescDestroy;
  decltype(&::cublasLtMatmulDescSetAttribute) cublasLtMatmulDescSetAttribute;
  decltype(&::cublasLtMatmulPreferenceCreate) cublasLtMatmulPreferenceCreate;
  decltype(&::cublasLtMatmulPreferenceDestroy) cublasLtMatmulPreferenceDestroy;
  decltype(&::cublasLtMatmulPreferenceSetAttribute) cublasLtMatmulPreferenceSetAttribute;
  decltype(&::cublasLtMatrixLayoutCreate) cublasLtMatrixLayoutCreate;
  decltype(&::cublasLtMatrixLayoutDestroy) cublasLtMatrixLayoutDestroy;

  decltype(&::cublasCreate_v2) cublasCreate_v2;
  decltype(&::cublasDestroy_v2) cublasDestroy_v2;
  decltype(&::cublasSetStream_v2) cublasSetStream_v2;
  decltype(&::cublasSetWorkspace_v2) cublasSetWorkspace_v2;
  decltype(&::cublasSetMathMode) cublasSetMathMode;
  decltype(&::cublasGemmEx_64) cublasGemmEx_64;
  decltype(&::cublasGemmStridedBatchedEx_64) cublasGemmStridedBatchedEx_64;
  decltype(&::cublasDtrsm_v2_64) cublasDtrsm_v2_64;

  decltype(&::cusolverGetProperty) cusolverGetProperty;
  decltype(&::cusolverDnCreate) cusolverDnCreate;
  decltype(&::cusolverDnDestroy) cusolverDnDestroy;
  decltype(&::cusolverDnSetStream) cusolverDnSetStream;
  decltype(&::cusolverDnCreateParams) cusolverDnCreateParams;
  decltype(&::cusolverDnDestroyParams) cusolverDnDestroyParams;
  decltype(&::cusolverDnCreateGesvdjInfo) cusolverDnCreateGesvdjInfo;
  decltype(&::cusolverDnDestroyGesvdjInfo) cusolverDnDestroyGesvdjInfo;
  decltype(&::cusolverDnSgesvdj_bufferSize) cusolverDnSgesvdj_bufferSize;
  decltype(&::cusolverDnDgesvdj_bufferSize) cusolverDnDgesvdj_bufferSize;
  decltype(&::cusolverDnSgesvdj) cusolverDnSgesvdj;
  decltype(&::cusolverDnDgesvdj) cusolverDnDgesvdj;
  decltype(&::cusolverDnSgesvdjBatched_bufferSize) cusolverDnSgesvdjBatched_bufferSize;
  decltype(&::cusolverDnDgesvdjBatched_bufferSize) cusolverDnDgesvdjBatched_bufferSize;
  decltype(&::cusolverDnSgesvdjBatched) cusolverDnSgesvdjBatched;
  decltype(&::cusolverDnDgesvdjBatched) cusolverDnDgesvdjBatched;
  decltype(&::cusolverDnXgesvdp_bufferSize) cusolverDnXgesvdp_bufferSize;
  decltype(&::cusolverDnXgesvdp) cusolverDnXgesvdp;
  decltype(&::cusolverDnXgesvd_bufferSize) cusolverDnXgesvd_bufferSize;
  decltype(&::cusolverDnXgesvd) cusolverDnXgesvd;
  decltype(&::cusolverDnXsyevd_bufferSize) cusolverDnXsyevd_bufferSize;
  decltype(&::cusolverDnXsyevd) cusolverDnXsyevd;
  decltype(&::cusolverDnDpotrf_bufferSize) cusolverDnDpotrf_bufferSize;
  decltype(&::cusolverDnDpotrf) cusolverDnDpotrf;
  decltype(&::cusolverDnDgeqrf_bufferSize) cusolverDnDgeqrf_bufferSize;
  decltype(&::cusolverDnDgeqrf) cusolverDnDgeqrf;
  decltype(&::cusolverDnDorgqr_bufferSize) cusolverDnDorgqr_bufferSize;
  decltype(&::cusolverDnDorgqr) cusolverDnDorgqr;
  // Null before CUDA 12.6.2, whose headers do not declare them.
  cusolverStatus_t (*cusolverDnXsyevBatched_bufferSize)(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t,
                                                        cublasFillMode_t, int64_t n, cudaDataType, const void* a,
                                                        int64_t lda, cudaDataType, const void* w, cudaDataType compute,
                                                        size_t* device_bytes, size_t* host_bytes, int64_t batch);
  cusolverStatus_t (*cusolverDnXsyevBatched)(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t,
                                             cublasFillMode_t, int64_t n, cudaDataType, void* a, int64_t lda,
                                             cudaDataType, void* w, cudaDataType compute, void* device_work,
                                             size_t device_bytes, void* host_work, size_t host_bytes, int* info,
                                             int64_t batch);
};

// Opens all libraries, once per process, from one installation, of a CUDA version that the driver serves; never closes
// them. False if no installation has all.
bool open_libraries(int driver_major, Searched& searched);
const Libraries& libraries();
// Versions and location of the libraries; static text.
const char* libraries_text();

// A failed call of a library. It may be the consequence of an earlier fault of the device.
class LibraryFailure : public Failure {
 public:
  using Failure::Failure;
};

// Throw a LibraryFailure if a library call failed; `what` is the operation.
void check(cublasStatus_t status, const char* what);
void check(cusolverStatus_t status, const char* what);

// Rethrows a failure, as OUT_OF_MEMORY if less of the device's memory is free than a handle may need.
[[noreturn]] void explain_scarcity(const LibraryFailure& failure);

// RAII owners of library handles.
template <class Handle, auto destroy>
struct LibraryDestroy {
  static void call(Handle handle) { (libraries().*destroy)(handle); }
};
template <class Handle, auto destroy>
using UniqueLibraryHandle = UniqueHandle<Handle, LibraryDestroy<Handle, destroy>::call>;

using LtHandle = UniqueLibraryHandle<cublasLtHandle_t, &Libraries::cublasLtDestroy>;
using LtDescription = UniqueLibraryHandle<cublasLtMatmulDesc_t, &Libraries::cublasLtMatmulDescDestroy>;
using LtLayout = UniqueLibraryHandle<cublasLtMatrixLayout_t, &Libraries::cublasLtMatrixLayoutDestroy>;
using LtPreference = UniqueLibraryHandle<cublasLtMatmulPreference_t, &Libraries::cublasLtMatmulPreferenceDestroy>;
using BlasHandle = UniqueLibraryHandle<cublasHandle_t, &Libraries::cublasDestroy_v2>;
using SolverHandle = UniqueLibraryHandle<cusolverDnHandle_t, &Libraries::cusolverDnDestroy>;
using SolverParams = UniqueLibraryHandle<cusolverDnParams_t, &Libraries::cusolverDnDestroyParams>;
using JacobiParams = UniqueLibraryHandle<gesvdjInfo_t, &Libraries::cusolverDnDestroyGesvdjInfo>;

// Calls `create` and wraps the handle in an RAII owner.
template <class Owner, class Create, class... Arguments>
Owner create_handle(const char* what, Create create, Arguments... arguments) {
  decltype(std::declval<Owner>().get()) handle = nullptr;
  check(create(&handle, arguments...), what);
  return Owner(handle);
}

// The same for a handle that takes memory of the device. cuBLAS and cuSOLVER allocate it outside of the pool, so the
// pool returns its unused memory before a second attempt. Says OUT_OF_MEMORY if that fails too and little memory is
// free.
template <class Owner, class Create>
Owner create_handle_on(const Device& device, const char* what, Create create) {
  try {
    return create_handle<Owner>(what, create);
  } catch (const LibraryFailure&) {
    trim_memory(device);
  }
  try {
    return create_handle<Owner>(what, create);
  } catch (const LibraryFailure& failure) {
    explain_scarcity(failure);
  }
}

}  // namespace sigma::cuda
