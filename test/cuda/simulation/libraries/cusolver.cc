// A fake cuSOLVER on LAPACK in float64, with the functions that the backend calls and the restrictions of the real
// library: gesvd rejects wide matrices; gesvdjBatched rejects more than 32 rows or columns; gesvdj and gesvdp return V,
// gesvd returns Vᵀ; the input is destroyed; a workspace must have the requested size and be zeroed.
//
// SIGMA_SIMULATED_FAIL injects failures into gesvdj, gesvdp, gesvd, syevd, potrf, geqrf and orgqr: see operands.h.
#include <cblas.h>
#include <cusolverDn.h>

#include <algorithm>

#include "decompositions.h"

using namespace sigma::simulation;

struct cusolverDnParams {};
struct gesvdjInfo {};

#pragma GCC visibility push(default)
extern "C" {

cusolverStatus_t cusolverGetProperty(libraryPropertyType type, int* value) {
  *value = type == MAJOR_VERSION ? CUSOLVER_VER_MAJOR : type == MINOR_VERSION ? CUSOLVER_VER_MINOR : CUSOLVER_VER_PATCH;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t* handle) {
  if (device_failed() || !has_handle_memory()) return CUSOLVER_STATUS_NOT_INITIALIZED;
  openblas_set_num_threads(1);
  *handle = new cusolverDnContext;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle) {
  delete handle;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t handle, cudaStream_t stream) {
  handle->stream = stream;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnCreateParams(cusolverDnParams_t* params) {
  *params = new cusolverDnParams;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDestroyParams(cusolverDnParams_t params) {
  delete params;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnCreateGesvdjInfo(gesvdjInfo_t* info) {
  *info = new gesvdjInfo;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDestroyGesvdjInfo(gesvdjInfo_t info) {
  delete info;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnSgesvdj_bufferSize(cusolverDnHandle_t, cusolverEigMode_t, int, int m, int n, const float*,
                                              int, const float*, const float*, int, const float*, int, int* lwork,
                                              gesvdjInfo_t) {
  *lwork = static_cast<int>(svd_workspace(m, n));
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDgesvdj_bufferSize(cusolverDnHandle_t, cusolverEigMode_t, int, int m, int n, const double*,
                                              int, const double*, const double*, int, const double*, int, int* lwork,
                                              gesvdjInfo_t) {
  *lwork = static_cast<int>(svd_workspace(m, n));
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnSgesvdj(cusolverDnHandle_t handle, cusolverEigMode_t jobz, int econ, int m, int n, float* A,
                                   int lda, float* S, float* U, int ldu, float* V, int ldv, float* work, int lwork,
                                   int* info, gesvdjInfo_t) {
  if (jobz != CUSOLVER_EIG_MODE_VECTOR) return CUSOLVER_STATUS_INVALID_VALUE;
  return gesvdj(handle, econ, m, n, A, lda, S, U, ldu, V, ldv, work, lwork, info);
}

cusolverStatus_t cusolverDnDgesvdj(cusolverDnHandle_t handle, cusolverEigMode_t jobz, int econ, int m, int n, double* A,
                                   int lda, double* S, double* U, int ldu, double* V, int ldv, double* work, int lwork,
                                   int* info, gesvdjInfo_t) {
  if (jobz != CUSOLVER_EIG_MODE_VECTOR) return CUSOLVER_STATUS_INVALID_VALUE;
  return gesvdj(handle, econ, m, n, A, lda, S, U, ldu, V, ldv, work, lwork, info);
}

cusolverStatus_t cusolverDnSgesvdjBatched_bufferSize(cusolverDnHandle_t, cusolverEigMode_t, int m, int n, const float*,
                                                     int, const float*, const float*, int, const float*, int,
                                                     int* lwork, gesvdjInfo_t, int) {
  *lwork = static_cast<int>(svd_workspace(m, n));
  return m > 32 || n > 32 ? CUSOLVER_STATUS_INVALID_VALUE : CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDgesvdjBatched_bufferSize(cusolverDnHandle_t, cusolverEigMode_t, int m, int n, const double*,
                                                     int, const double*, const double*, int, const double*, int,
                                                     int* lwork, gesvdjInfo_t, int) {
  *lwork = static_cast<int>(svd_workspace(m, n));
  return m > 32 || n > 32 ? CUSOLVER_STATUS_INVALID_VALUE : CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnSgesvdjBatched(cusolverDnHandle_t handle, cusolverEigMode_t, int m, int n, float* A, int lda,
                                          float* S, float* U, int ldu, float* V, int ldv, float* work, int lwork,
                                          int* info, gesvdjInfo_t, int batch) {
  return gesvdj_batched(handle, m, n, A, lda, S, U, ldu, V, ldv, work, lwork, info, batch);
}

cusolverStatus_t cusolverDnDgesvdjBatched(cusolverDnHandle_t handle, cusolverEigMode_t, int m, int n, double* A,
                                          int lda, double* S, double* U, int ldu, double* V, int ldv, double* work,
                                          int lwork, int* info, gesvdjInfo_t, int batch) {
  return gesvdj_batched(handle, m, n, A, lda, S, U, ldu, V, ldv, work, lwork, info, batch);
}

cusolverStatus_t cusolverDnXgesvdp_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t, int, int64_t m,
                                              int64_t n, cudaDataType, const void*, int64_t, cudaDataType, const void*,
                                              cudaDataType, const void*, int64_t, cudaDataType, const void*, int64_t,
                                              cudaDataType, size_t* device, size_t* host) {
  *device = svd_workspace(m, n) * sizeof(double);
  *host = 64;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXgesvdp(cusolverDnHandle_t handle, cusolverDnParams_t, cusolverEigMode_t jobz, int econ,
                                   int64_t m, int64_t n, cudaDataType typeA, void* A, int64_t lda, cudaDataType typeS,
                                   void* S, cudaDataType typeU, void* U, int64_t ldu, cudaDataType typeV, void* V,
                                   int64_t ldv, cudaDataType computeType, void* device, size_t device_bytes, void* host,
                                   size_t host_bytes, int* info, double* h_err_sigma) {
  if (jobz != CUSOLVER_EIG_MODE_VECTOR || typeA != typeS || typeA != typeU || typeA != typeV || typeA != computeType) {
    return CUSOLVER_STATUS_INVALID_VALUE;
  }
  require(host_bytes >= 64 && host != nullptr && h_err_sigma != nullptr, "gesvdp", "expected a larger host workspace");
  const HostWork host_work = {host, host_bytes};
  const cusolverStatus_t status =
      typeA == CUDA_R_64F
          ? gesvdp<double>(handle, econ, m, n, A, lda, S, U, ldu, V, ldv, device, device_bytes, host_work, info)
          : gesvdp<float>(handle, econ, m, n, A, lda, S, U, ldu, V, ldv, device, device_bytes, host_work, info);
  if (status == CUSOLVER_STATUS_SUCCESS) enqueue(stream_of(handle), [=] { *h_err_sigma = 0; });
  return status;
}

cusolverStatus_t cusolverDnXgesvd_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, signed char, signed char,
                                             int64_t m, int64_t n, cudaDataType, const void*, int64_t, cudaDataType,
                                             const void*, cudaDataType, const void*, int64_t, cudaDataType, const void*,
                                             int64_t, cudaDataType, size_t* device, size_t* host) {
  *device = svd_workspace(m, n) * sizeof(double);
  *host = 96;
  return m < n ? CUSOLVER_STATUS_INVALID_VALUE : CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXgesvd(cusolverDnHandle_t handle, cusolverDnParams_t, signed char jobu, signed char jobvt,
                                  int64_t m, int64_t n, cudaDataType typeA, void* A, int64_t lda, cudaDataType typeS,
                                  void* S, cudaDataType typeU, void* U, int64_t ldu, cudaDataType typeVT, void* VT,
                                  int64_t ldvt, cudaDataType computeType, void* device, size_t device_bytes, void* host,
                                  size_t host_bytes, int* info) {
  if (m < n || jobu != 'S' || jobvt != 'S' || typeA != typeS || typeA != typeU || typeA != typeVT ||
      typeA != computeType) {
    return CUSOLVER_STATUS_INVALID_VALUE;
  }
  require(host_bytes >= 96 && host != nullptr, "gesvd", "expected a larger host workspace");
  const HostWork host_work = {host, host_bytes};
  return typeA == CUDA_R_64F
             ? gesvd<double>(handle, m, n, A, lda, S, U, ldu, VT, ldvt, device, device_bytes, host_work, info)
             : gesvd<float>(handle, m, n, A, lda, S, U, ldu, VT, ldvt, device, device_bytes, host_work, info);
}

cusolverStatus_t cusolverDnXsyevd_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t,
                                             cublasFillMode_t, int64_t n, cudaDataType, const void*, int64_t,
                                             cudaDataType, const void*, cudaDataType, size_t* device, size_t* host) {
  *device = eigen_workspace(n);
  *host = 128;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXsyevd(cusolverDnHandle_t handle, cusolverDnParams_t, cusolverEigMode_t jobz,
                                  cublasFillMode_t uplo, int64_t n, cudaDataType typeA, void* A, int64_t lda,
                                  cudaDataType typeW, void* W, cudaDataType computeType, void* device,
                                  size_t device_bytes, void* host, size_t host_bytes, int* info) {
  require(jobz == CUSOLVER_EIG_MODE_VECTOR && uplo == CUBLAS_FILL_MODE_UPPER, "syevd", "expected the upper triangle");
  require(typeA == CUDA_R_64F && typeW == typeA && computeType == typeA, "syevd", "expected float64");
  return queue_eigenvectors(handle, n, static_cast<double*>(A), lda, static_cast<double*>(W), device, device_bytes,
                            {host, host_bytes}, info, 1);
}

cusolverStatus_t cusolverDnXsyevBatched_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t,
                                                   cublasFillMode_t, int64_t n, cudaDataType, const void*, int64_t,
                                                   cudaDataType, const void*, cudaDataType, size_t* device,
                                                   size_t* host, int64_t batch) {
  *device = eigen_workspace(n) * static_cast<size_t>(batch);
  *host = 128;
  return batch > 16384 ? CUSOLVER_STATUS_INVALID_VALUE : CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXsyevBatched(cusolverDnHandle_t handle, cusolverDnParams_t, cusolverEigMode_t jobz,
                                        cublasFillMode_t uplo, int64_t n, cudaDataType typeA, void* A, int64_t lda,
                                        cudaDataType typeW, void* W, cudaDataType computeType, void* device,
                                        size_t device_bytes, void* host, size_t host_bytes, int* info, int64_t batch) {
  require(jobz == CUSOLVER_EIG_MODE_VECTOR && uplo == CUBLAS_FILL_MODE_UPPER, "syevBatched",
          "expected the upper triangle");
  require(typeA == CUDA_R_64F && typeW == typeA && computeType == typeA, "syevBatched", "expected float64");
  if (batch > 16384 || host_bytes < 128) return CUSOLVER_STATUS_INVALID_VALUE;
  return queue_eigenvectors(handle, n, static_cast<double*>(A), lda, static_cast<double*>(W), device, device_bytes,
                            {host, host_bytes}, info, batch);
}

cusolverStatus_t cusolverDnDpotrf_bufferSize(cusolverDnHandle_t, cublasFillMode_t, int n, double* A, int lda,
                                             int* lwork) {
  require_matrix(A, n, n, lda, sizeof(double), "potrf");
  *lwork = 16 * n;
  return CUSOLVER_STATUS_SUCCESS;
}

// Leaves NaN in the other triangle, which callers may not read.
cusolverStatus_t cusolverDnDpotrf(cusolverDnHandle_t handle, cublasFillMode_t uplo, int n, double* A, int lda,
                                  double* Workspace, int Lwork, int* info) {
  require(uplo == CUBLAS_FILL_MODE_UPPER, "potrf", "expected the upper triangle");
  require_matrix(A, n, n, lda, sizeof(double), "potrf");
  return queue_factorisation(handle, "potrf", {Workspace, Lwork, 16 * n}, info, [=](Planted failure) {
    LAPACK_dpotrf("U", &n, A, &lda, info);
    for (int j = 0; j < n; ++j) std::fill(A + j * lda + j + 1, A + j * lda + n, std::nan(""));
    if (failure == Planted::unconverged) *info = n;
  });
}

cusolverStatus_t cusolverDnDgeqrf_bufferSize(cusolverDnHandle_t, int m, int n, double* A, int lda, int* lwork) {
  require_matrix(A, m, n, lda, sizeof(double), "geqrf");
  *lwork = 32 * n;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDgeqrf(cusolverDnHandle_t handle, int m, int n, double* A, int lda, double* TAU,
                                  double* Workspace, int Lwork, int* info) {
  require_matrix(A, m, n, lda, sizeof(double), "geqrf");
  require_operand(TAU, static_cast<size_t>(std::min(m, n)) * sizeof(double), "geqrf");
  return queue_factorisation(handle, "geqrf", {Workspace, Lwork, 32 * n}, info,
                             [=](Planted) { LAPACK_dgeqrf(&m, &n, A, &lda, TAU, Workspace, &Lwork, info); });
}

cusolverStatus_t cusolverDnDorgqr_bufferSize(cusolverDnHandle_t, int m, int n, int, const double* A, int lda,
                                             const double*, int* lwork) {
  require_matrix(A, m, n, lda, sizeof(double), "orgqr");
  *lwork = 32 * n;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDorgqr(cusolverDnHandle_t handle, int m, int n, int k, double* A, int lda, const double* tau,
                                  double* work, int lwork, int* info) {
  require_matrix(A, m, n, lda, sizeof(double), "orgqr");
  require_operand(tau, static_cast<size_t>(k) * sizeof(double), "orgqr");
  return queue_factorisation(handle, "orgqr", {work, lwork, 32 * n}, info, [=](Planted failure) {
    LAPACK_dorgqr(&m, &n, &k, A, &lda, tau, work, &lwork, info);
    if (failure == Planted::wrong) A[0] += 0.01;
  });
}

}  // extern "C"
#pragma GCC visibility pop
