// The SVD routes of a GPU. Each fills u, s and vt for a batch and returns which problems it solved. Throws UNSUPPORTED
// if it does not support the problem.
//
// cuSOLVER is column-major, so it sees our row-major A as Aᵀ, with u and v swapped. All routes get the taller of A and
// Aᵀ: gesvd and the Gram route require it, and the others lose nothing.
#pragma once

#include <vector>

#include "cuda/svd/batch.h"

namespace sigma::cuda {

template <class T>
using SvdRoute = std::vector<bool> (*)(const SvdBatch&);

// One-sided Jacobi; batched up to 32 rows and columns.
template <class T>
std::vector<bool> svd_gesvdj(const SvdBatch& batch);
// Polar decomposition.
template <class T>
std::vector<bool> svd_gesvdp(const SvdBatch& batch);
// Bidiagonalisation and QR iteration.
template <class T>
std::vector<bool> svd_gesvd(const SvdBatch& batch);
// Eigenvectors V of AᵀA in float64, then a QR factorisation of A V, which restores the orthogonality of U and the last
// digits of s. Accurate enough for float32 only: in float64, it would lose half the digits.
std::vector<bool> svd_gram64(const SvdBatch& batch);

// Whether the Jacobi or the Gram route is batched for this shape.
inline bool fits_batched_jacobi(const SvdShape& shape) { return shape.rows() <= 32; }
inline bool fits_batched_gram(const SvdShape& shape) { return shape.columns() <= 512; }

// Parts of the Gram route. G (columns, columns) = CᵀC for C (rows, columns), column-major, of each problem.
void svd_gram(const SvdBatch& batch, const double* c, double* g);
// Overwrites C = Q R with Q, and `values` (columns) with the diagonal of R. False if the columns of a C are too close
// to dependent: C is then lost.
bool svd_cholesky_qr(const SvdBatch& batch, double* c, double* values);

// Shared by the routes, in routes.cc: one flag per problem from `info` (count), and a checked 32-bit size.
std::vector<bool> svd_solved(const SvdNumbers<int>& info);
int svd_int(int64_t size, const char* routine);

// Checks a workspace length from cuSOLVER: if the size overflows 32 bits, it is negative.
size_t svd_length(int length, const char* routine);

}  // namespace sigma::cuda
