// cuSOLVER's routines on LAPACK in float64, and checks of their arguments.
#pragma once

#include <cusolverDn.h>
#include <lapack.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "host_blas.h"
#include "operands.h"

struct cusolverDnContext {
  cudaStream_t stream = nullptr;
};

namespace sigma::simulation {

inline cudaStream_t stream_of(cusolverDnHandle_t handle) { return handle->stream; }

// What a call returns at once.
inline cusolverStatus_t status_of(Planted failure) {
  if (failure == Planted::status || device_failed()) return CUSOLVER_STATUS_INTERNAL_ERROR;
  return failure == Planted::memory ? CUSOLVER_STATUS_ALLOC_FAILED : CUSOLVER_STATUS_SUCCESS;
}

inline size_t index_of(int64_t i, int64_t j, int64_t stride) { return static_cast<size_t>(j * stride + i); }

// U diag(s) Vᵀ in float64; U and Vᵀ are square if `full`.
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
  const HostBlas blas;
  const char* const job = full ? "A" : "S";
  LAPACK_dgesdd(job, &rows, &columns, copy.data(), /* lda = */ &rows, d.s.data(), d.u.data(), /* ldu = */ &rows,
                d.vt.data(), &ldvt, &query, &length, integers.data(), &d.info);
  length = static_cast<int>(query) + 1;
  std::vector<double> work(static_cast<size_t>(length));
  LAPACK_dgesdd(job, &rows, &columns, copy.data(), /* lda = */ &rows, d.s.data(), d.u.data(), /* ldu = */ &rows,
                d.vt.data(), &ldvt, work.data(), &length, integers.data(), &d.info);
  return d;
}

// cuSOLVER does not promise to handle numbers whose squares overflow or underflow.
template <class T>
bool squares_fit(const T* a, int64_t m, int64_t n, int64_t lda) {
  T largest = 0;
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) largest = std::max(largest, std::abs(a[index_of(i, j, lda)]));
  }
  return largest * largest >= std::numeric_limits<T>::min() && largest * largest <= std::numeric_limits<T>::max();
}

inline void plant(Planted failure, Decomposition& d) {
  const auto r = static_cast<int64_t>(d.s.size());
  if (failure == Planted::wrong) d.u[0] += 0.01;
  if (failure == Planted::nan) d.s[0] = std::numeric_limits<double>::quiet_NaN();
  if (failure == Planted::skewed) std::copy_n(d.u.begin(), d.m, d.u.begin() + (r - 1) * d.m);
  if (failure != Planted::swapped || r < 2) return;
  for (int64_t j = 0; j < d.n; ++j) std::swap(d.vt[index_of(0, j, d.vt_rows)], d.vt[index_of(1, j, d.vt_rows)]);
}

// Fills an input with NaN.
template <class T>
inline void destroy(T* a, int64_t rows, int64_t columns, int64_t stride) {
  for (int64_t j = 0; j < columns; ++j) {
    std::fill_n(a + j * stride, rows, std::numeric_limits<T>::quiet_NaN());
  }
}

template <class T>
inline void store(const std::vector<double>& from, int64_t rows, int64_t columns, bool transposed, T* to,
                  int64_t stride) {
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) {
      to[index_of(i, j, stride)] = static_cast<T>(from[transposed ? index_of(j, i, columns) : index_of(i, j, rows)]);
    }
  }
}

inline void check_workspace(const void* work, size_t bytes, size_t needed, const char* call) {
  require(bytes >= needed, call, "expected a workspace of the requested size");
  require_operand(work, bytes, call);
}

// Overwrites a workspace, as a routine would.
inline void use_workspace(void* work, size_t bytes, const char* call) {
  const auto* const begin = static_cast<const unsigned char*>(work);
  require(std::all_of(begin, begin + bytes, [](unsigned char byte) { return byte == 0; }), call,
          "expected a zeroed workspace");
  fill_rubbish(work, bytes);
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
  int unconverged;    // info if not converged
  int* info;
};

// What a call does before it queues the work of p.
template <class T>
cusolverStatus_t check(const Svd<T>& p) {
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
  require_operand(p.info, sizeof(int), call);
  return status_of(planted(call));
}

template <class T>
void solve(const Svd<T>& p, Planted failure) {
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
  *p.info = d.info;
}

inline size_t svd_workspace(int64_t m, int64_t n) { return static_cast<size_t>(3 * std::min(m, n) + m + n + 64); }

// Queues `problems`, which share a workspace. `host` is a workspace of the host, used while the work runs.
template <class T>
cusolverStatus_t queue_svd(cusolverDnHandle_t handle, std::vector<Svd<T>> problems, void* work, size_t bytes,
                           size_t needed, void* host = nullptr, size_t host_bytes = 0) {
  const char* const call = problems[0].routine;
  check_workspace(work, bytes, needed, call);
  for (const Svd<T>& p : problems) {
    const cusolverStatus_t status = check(p);
    if (status != CUSOLVER_STATUS_SUCCESS) return status;
  }
  enqueue(stream_of(handle), [=, problems = std::move(problems), failure = planted(call)] {
    use_workspace(work, bytes, call);
    if (host != nullptr) fill_rubbish(host, host_bytes);
    for (const Svd<T>& p : problems) solve(p, failure);
  });
  return CUSOLVER_STATUS_SUCCESS;
}

template <class T>
cusolverStatus_t gesvdj(cusolverDnHandle_t handle, int econ, int m, int n, T* a, int lda, T* s, T* u, int ldu, T* v,
                        int ldv, T* work, int lwork, int* info) {
  return queue_svd<T>(handle, {{"gesvdj", m, n, a, lda, s, u, ldu, v, ldv, econ == 0, false, std::min(m, n) + 1, info}},
                      work, static_cast<size_t>(lwork) * sizeof(T), svd_workspace(m, n) * sizeof(T));
}

template <class T>
cusolverStatus_t gesvdj_batched(cusolverDnHandle_t handle, int m, int n, T* a, int lda, T* s, T* u, int ldu, T* v,
                                int ldv, T* work, int lwork, int* info, int batch) {
  if (m > 32 || n > 32) return CUSOLVER_STATUS_INVALID_VALUE;
  const auto at = [](T* base, int64_t stride, int item) { return base + stride * item; };
  std::vector<Svd<T>> problems;
  for (int i = 0; i < batch; ++i) {
    problems.push_back({"gesvdj", m, n, at(a, int64_t{lda} * n, i), lda, at(s, std::min(m, n), i),
                        at(u, int64_t{ldu} * m, i), ldu, at(v, int64_t{ldv} * n, i), ldv, true, false,
                        std::min(m, n) + 1, info + i});
  }
  return queue_svd<T>(handle, std::move(problems), work, static_cast<size_t>(lwork) * sizeof(T),
                      svd_workspace(m, n) * sizeof(T));
}

struct HostWork {
  void* data;
  size_t bytes;
};

template <class T>
cusolverStatus_t gesvdp(cusolverDnHandle_t handle, int econ, int64_t m, int64_t n, void* a, int64_t lda, void* s,
                        void* u, int64_t ldu, void* v, int64_t ldv, void* work, size_t bytes, HostWork host,
                        int* info) {
  return queue_svd<T>(handle,
                      {{"gesvdp", m, n, static_cast<T*>(a), lda, static_cast<T*>(s), static_cast<T*>(u), ldu,
                        static_cast<T*>(v), ldv, econ == 0, false, 1, info}},
                      work, bytes, svd_workspace(m, n) * sizeof(double), host.data, host.bytes);
}

template <class T>
cusolverStatus_t gesvd(cusolverDnHandle_t handle, int64_t m, int64_t n, void* a, int64_t lda, void* s, void* u,
                       int64_t ldu, void* vt, int64_t ldvt, void* work, size_t bytes, HostWork host, int* info) {
  return queue_svd<T>(handle,
                      {{"gesvd", m, n, static_cast<T*>(a), lda, static_cast<T*>(s), static_cast<T*>(u), ldu,
                        static_cast<T*>(vt), ldvt, false, true, 1, info}},
                      work, bytes, svd_workspace(m, n) * sizeof(double), host.data, host.bytes);
}

// A workspace as it was given, and how much of it the routine asks for; in float64 numbers.
struct Work64 {
  double* data;
  int given, needed;
};

// Queues a factorisation in float64; `body` gets the planted failure.
template <class Body>
cusolverStatus_t queue_factorisation(cusolverDnHandle_t handle, const char* call, Work64 work, int* info, Body body) {
  const auto bytes_of = [](int count) { return static_cast<size_t>(count) * sizeof(double); };
  check_workspace(work.data, bytes_of(work.given), bytes_of(work.needed), call);
  require_operand(info, sizeof(int), call);
  const Planted failure = planted(call);
  const cusolverStatus_t status = status_of(failure);
  if (status != CUSOLVER_STATUS_SUCCESS) return status;
  enqueue(stream_of(handle), [=] {
    use_workspace(work.data, bytes_of(work.given), call);
    const HostBlas blas;
    body(failure);
  });
  return CUSOLVER_STATUS_SUCCESS;
}

// Overwrites A with eigenvectors in ascending order. Reads the upper triangle only.
inline int eigenvectors(int64_t n, double* a, int64_t lda, double* w, Planted failure) {
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = j + 1; i < n; ++i) a[index_of(i, j, lda)] = std::numeric_limits<double>::quiet_NaN();
  }
  const int order = static_cast<int>(n), stride = static_cast<int>(lda);
  double query = 0;
  int length = -1, integer_query = 0, integer_length = -1, info = 0;
  const HostBlas blas;
  LAPACK_dsyevd(/* jobz = */ "V", /* uplo = */ "U", &order, a, /* lda = */ &stride, w, &query, &length, &integer_query,
                &integer_length, &info);
  length = static_cast<int>(query) + 1;
  integer_length = integer_query;
  std::vector<double> work(static_cast<size_t>(length));
  std::vector<int> integers(static_cast<size_t>(integer_length));
  LAPACK_dsyevd(/* jobz = */ "V", /* uplo = */ "U", &order, a, /* lda = */ &stride, w, work.data(), &length,
                integers.data(), &integer_length, &info);
  if (failure == Planted::wrong) a[0] += 0.01;
  return failure == Planted::unconverged ? 1 : info;
}

inline size_t eigen_workspace(int64_t n) { return static_cast<size_t>(4 * n + 64) * sizeof(double); }

// Queues the eigenproblems of `batch` matrices. The workspace of the host is used while the work runs.
inline cusolverStatus_t queue_eigenvectors(cusolverDnHandle_t handle, int64_t n, double* a, int64_t lda, double* w,
                                           void* work, size_t bytes, HostWork host, int* info, int64_t batch) {
  check_workspace(work, bytes, eigen_workspace(n) * static_cast<size_t>(batch), "syevd");
  require(host.bytes >= 128 && host.data != nullptr, "syevd", "expected a larger host workspace");
  for (int64_t i = 0; i < batch; ++i) {
    require_matrix(a + i * lda * n, n, n, lda, sizeof(double), "syevd");
    require_operand(w + i * n, static_cast<size_t>(n) * sizeof(double), "syevd");
    require_operand(info + i, sizeof(int), "syevd");
  }
  const Planted failure = planted("syevd");
  const cusolverStatus_t status = status_of(failure);
  if (status != CUSOLVER_STATUS_SUCCESS) return status;
  enqueue(stream_of(handle), [=] {
    use_workspace(work, bytes, "syevd");
    fill_rubbish(host.data, host.bytes);
    for (int64_t i = 0; i < batch; ++i) info[i] = eigenvectors(n, a + i * lda * n, lda, w + i * n, failure);
  });
  return CUSOLVER_STATUS_SUCCESS;
}

}  // namespace sigma::simulation
