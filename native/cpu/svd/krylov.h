// The largest singular triples by block Golub-Kahan-Lanczos bidiagonalisation with full reorthogonalisation (Golub, Luk
// and Overton 1981; Musco and Musco 2015, "Randomized block Krylov methods", for the block size and the random start).
#pragma once

#include "cpu/svd/problem.h"

namespace sigma::cpu {

// Fills the p.k largest triples of `scale` A, where `a` (n, m) has its numbers by columns. Returns false if they have
// not converged within the dimensions that are cheaper than a decomposition. May miss triples. The same bits for any
// number of threads.
template <class T>
bool svd_krylov(const SvdProblem<T>& p, const Columns<T>& a);

}  // namespace sigma::cpu
