// The largest eigenpairs of a Gram matrix by block Lanczos iteration with full reorthogonalisation (Golub and Underwood
// 1977; Musco and Musco 2015, "Randomized block Krylov methods", for the block size and the random start).
#pragma once

#include <optional>

#include "cpu/svd/basis.h"

namespace sigma::cpu {

// Approximations of the eigenvectors of a matrix in a subspace, by falling eigenvalue.
template <class T>
struct RitzVectors {
  Basis<T> basis;
  Numbers<T> mixture;  // (dimensions, 2 k) by columns: a vector in terms of the leading vectors of the basis
  int dimensions;

  // v (length, up to 2 k) ← the leading vectors.
  void write(const Columns<T>& v) const;
};

// The Ritz vectors of G (length, length) in a space in which those of the k largest eigenvalues have converged to
// Σ |G v - λ v|² / λ ≤ tolerance² Σ λ, where λ counts as at least λ₁ / 4096. None if they do not within the dimensions
// that are cheaper than a decomposition. May miss
// copies of a multiple eigenvalue. The same bits for any number of threads.
template <class T>
std::optional<RitzVectors<T>> largest_eigenvectors(const SymmetricBlocks<T>& g, int length, int k, double tolerance);

}  // namespace sigma::cpu
