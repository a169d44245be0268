// The ways to compute a thin SVD on a GPU. Each fills u, s and vt of every problem of a batch and tells which of them
// it solved; it throws UNSUPPORTED where the problem is not for it.
//
// By columns, as cuSOLVER counts, our A by rows is Aᵀ, whose vectors are A's with u and v exchanged. All routes are
// given the tall one of A and Aᵀ: gesvd and the Gram route want no other, and the rest loses nothing.
#pragma once

#include <vector>

#include "cuda/svd/batch.h"

namespace sigma::cuda {

template <class T>
using SvdRoute = std::vector<bool> (*)(const SvdBatch&);

// One-sided Jacobi; up to 32 rows and columns all problems of the batch at once.
template <class T>
std::vector<bool> svd_gesvdj(const SvdBatch& batch);
// By polar decomposition.
template <class T>
std::vector<bool> svd_gesvdp(const SvdBatch& batch);
// By bidiagonal form and QR iteration.
template <class T>
std::vector<bool> svd_gesvd(const SvdBatch& batch);
// By the eigenvectors V of AᵀA in float64 and a QR factorisation of A V, which gives U orthonormal columns and s its
// last digits back. float32's answers lose nothing by it; float64's would lose half their digits.
std::vector<bool> svd_gram64(const SvdBatch& batch);

// Whether a Jacobi or a Gram route takes a batch at once, so that it is worth forming one.
inline bool fits_batched_jacobi(const SvdShape& shape) { return shape.rows() <= 32; }
inline bool fits_batched_gram(const SvdShape& shape) { return shape.columns() <= 512; }

// What the routes share, in svd_routes.cc: `info` (count) of a batch, as one flag a problem; and a size for the
// routines that count in 32 bits.
std::vector<bool> svd_solved(const SvdNumbers<int>& info);
int svd_int(int64_t size, const char* routine);

// A workspace's length as cuSOLVER counts it with 32 bits, checked: too large ones come out negative.
size_t svd_length(int length, const char* routine);

}  // namespace sigma::cuda
