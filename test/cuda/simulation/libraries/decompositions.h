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

namespace sigma::simulation {

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

// Checks a workspace and overwrites it, as a routine would.
inline void use_workspace(void* work, size_t bytes, size_t needed, const char* call) {
  require(bytes >= needed, call, "expected a workspace of the requested size");
  require_operand(work, bytes, call);
  const auto* const begin = static_cast<const unsigned char*>(work);
  require(std::all_of(begin, begin + bytes, [](unsigned char byte) { return byte == 0; }), call,
          "expected a zeroed workspace");
  fill_rubbish(work, bytes);
}

inline void set_info(int* info, int value, const char* call) {
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
  int unconverged;    // info if not converged
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

inline size_t svd_workspace(int64_t m, int64_t n) { return static_cast<size_t>(3 * std::min(m, n) + m + n + 64); }

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

// Overwrites A with eigenvectors in ascending order. Reads the upper triangle only.
inline int eigenvectors(int64_t n, double* a, int64_t lda, double* w) {
  require_matrix(a, n, n, lda, sizeof(double), "syevd");
  require_operand(w, static_cast<size_t>(n) * sizeof(double), "syevd");
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
  const Planted failure = planted("syevd");
  if (failure == Planted::wrong) a[0] += 0.01;
  return failure == Planted::unconverged ? 1 : info;
}

inline size_t eigen_workspace(int64_t n) { return static_cast<size_t>(4 * n + 64) * sizeof(double); }

}  // namespace sigma::simulation
