// The ways to compute a thin SVD on the CPU. Each fills u, s and vt, and returns false where it did not converge.
#pragma once

#include "cpu/svd/problem.h"

namespace sigma::cpu {

template <class T>
using SvdRoute = bool (*)(const SvdProblem<T>&);

// LAPACK's own routines. A long matrix is first taken to its triangle by our own QR (long_qr.h).
template <class T>
bool svd_gesdd(const SvdProblem<T>& p);
template <class T>
bool svd_gesvd(const SvdProblem<T>& p);

// What gesdd does, with our own bidiagonalisation: QR or LQ first if one side is much the longer,
// bidiagonal form, LAPACK's divide and conquer, and then both sides' reflectors at once, in tiles fixed by
// the shape, on the pool. The same bits for any number of threads.
template <class T>
bool svd_divide_and_conquer(const SvdProblem<T>& p);

// A float32 problem by a route of float64: one of those above.
template <SvdRoute<double> route>
bool svd_in_float64(const SvdProblem<float>& p);

}  // namespace sigma::cpu
