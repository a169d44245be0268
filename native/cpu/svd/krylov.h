// The largest eigenpairs of a Gram matrix by block Lanczos iteration with full reorthogonalisation (Golub and Underwood
// 1977; Musco and Musco 2015, "Randomized block Krylov methods", for the block size and the random start).
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// v (r, k) ← eigenvectors of the k largest eigenvalues of g (r, r), both triangles of which are given. Returns false if
// they have not converged within the dimensions that are cheaper than a decomposition, to Σ |G v - λ v|² / λ ≤
// tolerance² Σ λ, in which λ counts as at least λ₁ / 4096. May miss copies of a multiple eigenvalue. The same bits for
// any number of threads.
template <class T>
bool largest_eigenvectors(const Columns<T>& g, int k, double tolerance, const Columns<T>& v);

}  // namespace sigma::cpu
