// The calls of cuSOLVER that the backend makes, by LAPACK in float64, with the restrictions and habits of the real
// ones: gesvd refuses wide matrices, gesvdjBatched more than 32 rows or columns, gesvdj and gesvdp return V where gesvd
// returns Vᵀ, the input is destroyed, workspaces must be as large as asked for and zeroed.
//
// SIGMA_SIMULATED_FAIL plants failures in gesvdj, gesvdp, gesvd, syevd, geqrf and orgqr: see operands.h.
#include <cblas.h>
#include <cusolverDn.h>
#include <lapack.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "operands.h"

using namespace sigma::simulation;

struct cusolverDnContext {
  bool ready = true;
};
struct cusolverDnParams {};
struct gesvdjInfo {};

namespace {

template <class T>
constexpr cudaDataType kType = sizeof(T) == sizeof(double) ? CUDA_R_64F : CUDA_R_32F;

size_t index_of(int64_t i, int64_t j, int64_t stride) { return static_cast<size_t>(j * stride + i); }

// U diag(s) Vᵀ in float64; U and Vᵀ square where `full`.
struct Decomposition {
  int64_t m, n, u_columns, vt_rows;
  std::vector<double> u, s, vt;
  int info = 0;
};

template <class T>
Decomposition decompose(int64_t m, int64_t n, const T* a, int64_t lda, bool full) {
  const int64_t r = std::min(m, n);
  Decomposition d{m, n, full ? m : r, full ? n : r, {}, {}, {}};
  std::vector<double> copy(static_cast<size_t>(m * n));
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) copy[index_of(i, j, m)] = static_cast<double>(a[index_of(i, j, lda)]);
  }
  d.u.resize(static_cast<size_t>(m * d.u_columns));
  d.s.resize(static_cast<size_t>(r));
  d.vt.resize(static_cast<size_t>(d.vt_rows * n));
  const int rows = static_cast<int>(m), columns = static_cast<int>(n), ldvt = static_cast<int>(d.vt_rows);
  std::vector<int> integers(static_cast<size_t>(8 * r));
  double query = 0;
  int length = -1;
  const char* const job = full ? "A" : "S";
  LAPACK_dgesdd(job, &rows, &columns, copy.data(), &rows, d.s.data(), d.u.data(), &rows, d.vt.data(), &ldvt, &query,
                &length, integers.data(), &d.info);
  length = static_cast<int>(query) + 1;
  std::vector<double> work(static_cast<size_t>(length));
  LAPACK_dgesdd(job, &rows, &columns, copy.data(), &rows, d.s.data(), d.u.data(), &rows, d.vt.data(), &ldvt,
                work.data(), &length, integers.data(), &d.info);
  return d;
}

// Nobody promises that a routine takes care of numbers whose squares leave the type's range.
template <class T>
bool squares_fit(const T* a, int64_t m, int64_t n, int64_t lda) {
  T largest = 0;
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) largest = std::max(largest, std::abs(a[index_of(i, j, lda)]));
  }
  return largest * largest >= std::numeric_limits<T>::min() && largest * largest <= std::numeric_limits<T>::max();
}

void plant(Planted failure, Decomposition& d) {
  const auto r = static_cast<int64_t>(d.s.size());
  if (failure == Planted::wrong) d.u[0] += 0.01;
  if (failure == Planted::nan) d.s[0] = std::numeric_limits<double>::quiet_NaN();
  if (failure == Planted::skewed) std::copy_n(d.u.begin(), d.m, d.u.begin() + (r - 1) * d.m);
  if (failure != Planted::swapped || r < 2) return;
  for (int64_t j = 0; j < d.n; ++j) std::swap(d.vt[index_of(0, j, d.vt_rows)], d.vt[index_of(1, j, d.vt_rows)]);
}

// Numbers that are plainly not a matrix any more.
template <class T>
void destroy(T* a, int64_t rows, int64_t columns, int64_t stride) {
  for (int64_t j = 0; j < columns; ++j) {
    std::fill_n(a + j * stride, rows, std::numeric_limits<T>::quiet_NaN());
  }
}

template <class T>
void store(const std::vector<double>& from, int64_t rows, int64_t columns, bool transposed, T* to, int64_t stride) {
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) {
      to[index_of(i, j, stride)] = static_cast<T>(from[transposed ? index_of(j, i, columns) : index_of(i, j, rows)]);
    }
  }
}

// The rules that all routines share; rubbish is left where a routine would have worked.
void use_workspace(void* work, size_t bytes, size_t needed, const char* call) {
  require(bytes >= needed, call, "less workspace than asked for");
  require_operand(work, bytes, call);
  const auto* const begin = static_cast<const unsigned char*>(work);
  require(std::all_of(begin, begin + bytes, [](unsigned char byte) { return byte == 0; }), call,
          "a workspace that is not zeroed");
  fill_rubbish(work, bytes);
}

void set_info(int* info, int value, const char* call) {
  require_operand(info, sizeof(int), call);
  *info = value;
}

template <class T>
struct Svd {
  const char* routine;
  int64_t m, n;
  T* a;
  int64_t lda;
  T* s;
  T* u;
  int64_t ldu;
  T* v;
  int64_t ldv;
  bool full;          // U and V square
  bool v_transposed;  // whether v receives Vᵀ
  int unconverged;    // what info says then
};

template <class T>
cusolverStatus_t solve(const Svd<T>& p, int* info) {
  const char* const call = p.routine;
  const int64_t r = std::min(p.m, p.n);
  const int64_t u_columns = p.full ? p.m : r, v_columns = p.full ? p.n : r;
  require_matrix(p.a, p.m, p.n, p.lda, sizeof(T), call);
  require_matrix(p.u, p.m, u_columns, p.ldu, sizeof(T), call);
  if (p.v_transposed) {
    require_matrix(p.v, v_columns, p.n, p.ldv, sizeof(T), call);
  } else {
    require_matrix(p.v, p.n, v_columns, p.ldv, sizeof(T), call);
  }
  require_operand(p.s, static_cast<size_t>(r) * sizeof(T), call);
  const Planted failure = planted(p.routine);
  if (failure == Planted::status) return CUSOLVER_STATUS_INTERNAL_ERROR;
  if (failure == Planted::memory) return CUSOLVER_STATUS_ALLOC_FAILED;
  Decomposition d = decompose(p.m, p.n, p.a, p.lda, p.full);
  plant(failure, d);
  if (failure == Planted::unconverged || !squares_fit(p.a, p.m, p.n, p.lda)) d.info = p.unconverged;
  destroy(p.a, p.m, p.n, p.lda);
  std::copy(d.s.begin(), d.s.end(), p.s);
  store(d.u, p.m, d.u_columns, false, p.u, p.ldu);
  if (p.v_transposed) {
    store(d.vt, d.vt_rows, p.n, false, p.v, p.ldv);
  } else {
    store(d.vt, p.n, d.vt_rows, true, p.v, p.ldv);
  }
  set_info(info, d.info, call);
  return CUSOLVER_STATUS_SUCCESS;
}

size_t svd_workspace(int64_t m, int64_t n) { return static_cast<size_t>(3 * std::min(m, n) + m + n + 64); }

template <class T>
cusolverStatus_t gesvdj(int econ, int m, int n, T* a, int lda, T* s, T* u, int ldu, T* v, int ldv, T* work, int lwork,
                        int* info) {
  use_workspace(work, static_cast<size_t>(lwork) * sizeof(T), svd_workspace(m, n) * sizeof(T), "gesvdj");
  return solve<T>({"gesvdj", m, n, a, lda, s, u, ldu, v, ldv, econ == 0, false, std::min(m, n) + 1}, info);
}

template <class T>
cusolverStatus_t gesvdj_batched(int m, int n, T* a, int lda, T* s, T* u, int ldu, T* v, int ldv, T* work, int lwork,
                                int* info, int batch) {
  if (m > 32 || n > 32) return CUSOLVER_STATUS_INVALID_VALUE;
  use_workspace(work, static_cast<size_t>(lwork) * sizeof(T), svd_workspace(m, n) * sizeof(T), "gesvdjBatched");
  const auto at = [](T* base, int64_t stride, int item) { return base + stride * item; };
  for (int i = 0; i < batch; ++i) {
    const cusolverStatus_t status =
        solve<T>({"gesvdj", m, n, at(a, int64_t{lda} * n, i), lda, at(s, std::min(m, n), i), at(u, int64_t{ldu} * m, i),
                  ldu, at(v, int64_t{ldv} * n, i), ldv, true, false, std::min(m, n) + 1},
                 info + i);
    if (status != CUSOLVER_STATUS_SUCCESS) return status;
  }
  return CUSOLVER_STATUS_SUCCESS;
}

template <class T>
cusolverStatus_t gesvdp(int econ, int64_t m, int64_t n, void* a, int64_t lda, void* s, void* u, int64_t ldu, void* v,
                        int64_t ldv, int* info) {
  return solve<T>({"gesvdp", m, n, static_cast<T*>(a), lda, static_cast<T*>(s), static_cast<T*>(u), ldu,
                   static_cast<T*>(v), ldv, econ == 0, false, 1},
                  info);
}

template <class T>
cusolverStatus_t gesvd(int64_t m, int64_t n, void* a, int64_t lda, void* s, void* u, int64_t ldu, void* vt,
                       int64_t ldvt, int* info) {
  return solve<T>({"gesvd", m, n, static_cast<T*>(a), lda, static_cast<T*>(s), static_cast<T*>(u), ldu,
                   static_cast<T*>(vt), ldvt, false, true, 1},
                  info);
}

// The upper triangle of A becomes eigenvectors, ascending.
int eigenvectors(int64_t n, double* a, int64_t lda, double* w) {
  require_matrix(a, n, n, lda, sizeof(double), "syevd");
  require_operand(w, static_cast<size_t>(n) * sizeof(double), "syevd");
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = j + 1; i < n; ++i) a[index_of(i, j, lda)] = std::numeric_limits<double>::quiet_NaN();
  }
  const int order = static_cast<int>(n), stride = static_cast<int>(lda);
  double query = 0;
  int length = -1, integer_query = 0, integer_length = -1, info = 0;
  LAPACK_dsyevd("V", "U", &order, a, &stride, w, &query, &length, &integer_query, &integer_length, &info);
  length = static_cast<int>(query) + 1;
  integer_length = integer_query;
  std::vector<double> work(static_cast<size_t>(length));
  std::vector<int> integers(static_cast<size_t>(integer_length));
  LAPACK_dsyevd("V", "U", &order, a, &stride, w, work.data(), &length, integers.data(), &integer_length, &info);
  const Planted failure = planted("syevd");
  if (failure == Planted::wrong) a[0] += 0.01;
  return failure == Planted::unconverged ? 1 : info;
}

size_t eigen_workspace(int64_t n) { return static_cast<size_t>(4 * n + 64) * sizeof(double); }

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

cusolverStatus_t cusolverGetProperty(libraryPropertyType type, int* value) {
  *value = type == MAJOR_VERSION ? CUSOLVER_VER_MAJOR : type == MINOR_VERSION ? CUSOLVER_VER_MINOR : CUSOLVER_VER_PATCH;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnCreate(cusolverDnHandle_t* handle) {
  openblas_set_num_threads(1);
  *handle = new cusolverDnContext;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDestroy(cusolverDnHandle_t handle) {
  delete handle;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnSetStream(cusolverDnHandle_t, cudaStream_t) { return CUSOLVER_STATUS_SUCCESS; }

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

cusolverStatus_t cusolverDnSgesvdj(cusolverDnHandle_t, cusolverEigMode_t jobz, int econ, int m, int n, float* A,
                                   int lda, float* S, float* U, int ldu, float* V, int ldv, float* work, int lwork,
                                   int* info, gesvdjInfo_t) {
  if (jobz != CUSOLVER_EIG_MODE_VECTOR) return CUSOLVER_STATUS_INVALID_VALUE;
  return gesvdj(econ, m, n, A, lda, S, U, ldu, V, ldv, work, lwork, info);
}

cusolverStatus_t cusolverDnDgesvdj(cusolverDnHandle_t, cusolverEigMode_t jobz, int econ, int m, int n, double* A,
                                   int lda, double* S, double* U, int ldu, double* V, int ldv, double* work, int lwork,
                                   int* info, gesvdjInfo_t) {
  if (jobz != CUSOLVER_EIG_MODE_VECTOR) return CUSOLVER_STATUS_INVALID_VALUE;
  return gesvdj(econ, m, n, A, lda, S, U, ldu, V, ldv, work, lwork, info);
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

cusolverStatus_t cusolverDnSgesvdjBatched(cusolverDnHandle_t, cusolverEigMode_t, int m, int n, float* A, int lda,
                                          float* S, float* U, int ldu, float* V, int ldv, float* work, int lwork,
                                          int* info, gesvdjInfo_t, int batch) {
  return gesvdj_batched(m, n, A, lda, S, U, ldu, V, ldv, work, lwork, info, batch);
}

cusolverStatus_t cusolverDnDgesvdjBatched(cusolverDnHandle_t, cusolverEigMode_t, int m, int n, double* A, int lda,
                                          double* S, double* U, int ldu, double* V, int ldv, double* work, int lwork,
                                          int* info, gesvdjInfo_t, int batch) {
  return gesvdj_batched(m, n, A, lda, S, U, ldu, V, ldv, work, lwork, info, batch);
}

cusolverStatus_t cusolverDnXgesvdp_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t, int, int64_t m,
                                              int64_t n, cudaDataType, const void*, int64_t, cudaDataType, const void*,
                                              cudaDataType, const void*, int64_t, cudaDataType, const void*, int64_t,
                                              cudaDataType, size_t* device, size_t* host) {
  *device = svd_workspace(m, n) * sizeof(double);
  *host = 64;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXgesvdp(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t jobz, int econ, int64_t m,
                                   int64_t n, cudaDataType typeA, void* A, int64_t lda, cudaDataType typeS, void* S,
                                   cudaDataType typeU, void* U, int64_t ldu, cudaDataType typeV, void* V, int64_t ldv,
                                   cudaDataType computeType, void* device, size_t device_bytes, void* host,
                                   size_t host_bytes, int* info, double* h_err_sigma) {
  if (jobz != CUSOLVER_EIG_MODE_VECTOR || typeA != typeS || typeA != typeU || typeA != typeV || typeA != computeType) {
    return CUSOLVER_STATUS_INVALID_VALUE;
  }
  require(host_bytes >= 64 && host != nullptr && h_err_sigma != nullptr, "gesvdp", "less host workspace than needed");
  use_workspace(device, device_bytes, svd_workspace(m, n) * sizeof(double), "gesvdp");
  *h_err_sigma = 0;
  return typeA == CUDA_R_64F ? gesvdp<double>(econ, m, n, A, lda, S, U, ldu, V, ldv, info)
                             : gesvdp<float>(econ, m, n, A, lda, S, U, ldu, V, ldv, info);
}

cusolverStatus_t cusolverDnXgesvd_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, signed char, signed char,
                                             int64_t m, int64_t n, cudaDataType, const void*, int64_t, cudaDataType,
                                             const void*, cudaDataType, const void*, int64_t, cudaDataType, const void*,
                                             int64_t, cudaDataType, size_t* device, size_t* host) {
  *device = svd_workspace(m, n) * sizeof(double);
  *host = 0;
  return m < n ? CUSOLVER_STATUS_INVALID_VALUE : CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXgesvd(cusolverDnHandle_t, cusolverDnParams_t, signed char jobu, signed char jobvt,
                                  int64_t m, int64_t n, cudaDataType typeA, void* A, int64_t lda, cudaDataType typeS,
                                  void* S, cudaDataType typeU, void* U, int64_t ldu, cudaDataType typeVT, void* VT,
                                  int64_t ldvt, cudaDataType computeType, void* device, size_t device_bytes, void*,
                                  size_t, int* info) {
  if (m < n || jobu != 'S' || jobvt != 'S' || typeA != typeS || typeA != typeU || typeA != typeVT ||
      typeA != computeType) {
    return CUSOLVER_STATUS_INVALID_VALUE;
  }
  use_workspace(device, device_bytes, svd_workspace(m, n) * sizeof(double), "gesvd");
  return typeA == CUDA_R_64F ? gesvd<double>(m, n, A, lda, S, U, ldu, VT, ldvt, info)
                             : gesvd<float>(m, n, A, lda, S, U, ldu, VT, ldvt, info);
}

cusolverStatus_t cusolverDnXsyevd_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t,
                                             cublasFillMode_t, int64_t n, cudaDataType, const void*, int64_t,
                                             cudaDataType, const void*, cudaDataType, size_t* device, size_t* host) {
  *device = eigen_workspace(n);
  *host = 128;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXsyevd(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t jobz, cublasFillMode_t uplo,
                                  int64_t n, cudaDataType typeA, void* A, int64_t lda, cudaDataType typeW, void* W,
                                  cudaDataType computeType, void* device, size_t device_bytes, void* host,
                                  size_t host_bytes, int* info) {
  require(jobz == CUSOLVER_EIG_MODE_VECTOR && uplo == CUBLAS_FILL_MODE_UPPER, "syevd", "the lower triangle");
  require(typeA == CUDA_R_64F && typeW == typeA && computeType == typeA, "syevd", "another type than float64");
  require(host_bytes >= 128 && host != nullptr, "syevd", "less host workspace than needed");
  use_workspace(device, device_bytes, eigen_workspace(n), "syevd");
  if (planted("syevd") == Planted::status) return CUSOLVER_STATUS_INTERNAL_ERROR;
  set_info(info, eigenvectors(n, static_cast<double*>(A), lda, static_cast<double*>(W)), "syevd");
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXsyevBatched_bufferSize(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t,
                                                   cublasFillMode_t, int64_t n, cudaDataType, const void*, int64_t,
                                                   cudaDataType, const void*, cudaDataType, size_t* device,
                                                   size_t* host, int64_t batch) {
  *device = eigen_workspace(n) * static_cast<size_t>(batch);
  *host = 128;
  return batch > 16384 ? CUSOLVER_STATUS_INVALID_VALUE : CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnXsyevBatched(cusolverDnHandle_t, cusolverDnParams_t, cusolverEigMode_t jobz,
                                        cublasFillMode_t uplo, int64_t n, cudaDataType typeA, void* A, int64_t lda,
                                        cudaDataType typeW, void* W, cudaDataType computeType, void* device,
                                        size_t device_bytes, void*, size_t host_bytes, int* info, int64_t batch) {
  require(jobz == CUSOLVER_EIG_MODE_VECTOR && uplo == CUBLAS_FILL_MODE_UPPER, "syevBatched", "the lower triangle");
  require(typeA == CUDA_R_64F && typeW == typeA && computeType == typeA, "syevBatched", "another type than float64");
  if (batch > 16384 || host_bytes < 128) return CUSOLVER_STATUS_INVALID_VALUE;
  use_workspace(device, device_bytes, eigen_workspace(n) * static_cast<size_t>(batch), "syevBatched");
  if (planted("syevd") == Planted::status) return CUSOLVER_STATUS_INTERNAL_ERROR;
  for (int64_t i = 0; i < batch; ++i) {
    set_info(info + i, eigenvectors(n, static_cast<double*>(A) + i * lda * n, lda, static_cast<double*>(W) + i * n),
             "syevBatched");
  }
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDgeqrf_bufferSize(cusolverDnHandle_t, int m, int n, double* A, int lda, int* lwork) {
  require_matrix(A, m, n, lda, sizeof(double), "geqrf");
  *lwork = 32 * n;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDgeqrf(cusolverDnHandle_t, int m, int n, double* A, int lda, double* TAU, double* Workspace,
                                  int Lwork, int* info) {
  require_matrix(A, m, n, lda, sizeof(double), "geqrf");
  require_operand(TAU, static_cast<size_t>(std::min(m, n)) * sizeof(double), "geqrf");
  use_workspace(Workspace, static_cast<size_t>(Lwork) * sizeof(double), 32 * static_cast<size_t>(n) * sizeof(double),
                "geqrf");
  if (planted("geqrf") == Planted::status) return CUSOLVER_STATUS_INTERNAL_ERROR;
  int found = 0;
  LAPACK_dgeqrf(&m, &n, A, &lda, TAU, Workspace, &Lwork, &found);
  set_info(info, found, "geqrf");
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDorgqr_bufferSize(cusolverDnHandle_t, int m, int n, int, const double* A, int lda,
                                             const double*, int* lwork) {
  require_matrix(A, m, n, lda, sizeof(double), "orgqr");
  *lwork = 32 * n;
  return CUSOLVER_STATUS_SUCCESS;
}

cusolverStatus_t cusolverDnDorgqr(cusolverDnHandle_t, int m, int n, int k, double* A, int lda, const double* tau,
                                  double* work, int lwork, int* info) {
  require_matrix(A, m, n, lda, sizeof(double), "orgqr");
  require_operand(tau, static_cast<size_t>(k) * sizeof(double), "orgqr");
  use_workspace(work, static_cast<size_t>(lwork) * sizeof(double), 32 * static_cast<size_t>(n) * sizeof(double),
                "orgqr");
  if (planted("orgqr") == Planted::status) return CUSOLVER_STATUS_INTERNAL_ERROR;
  int found = 0;
  LAPACK_dorgqr(&m, &n, &k, A, &lda, tau, work, &lwork, &found);
  if (planted("orgqr") == Planted::wrong) A[0] += 0.01;
  set_info(info, found, "orgqr");
  return CUSOLVER_STATUS_SUCCESS;
}

}  // extern "C"
#pragma GCC visibility pop
