// The SVD routes of the CPU. Each fills u, s and vt, and returns false if it does not converge.
#pragma once

#include "cpu/svd/problem.h"

namespace sigma::cpu {

template <class T>
using SvdRoute = bool (*)(const SvdProblem<T>&);

// LAPACK's routines. A long matrix goes through_triangle first.
template <class T>
bool svd_gesdd(const SvdProblem<T>& p);
template <class T>
bool svd_gesvd(const SvdProblem<T>& p);

// The algorithm of gesdd on the pool: its triangle first if one side is much longer, our bidiagonalisation and divide
// and conquer, and back-transformation of U and VT in parallel. The same bits for any number of threads.
template <class T>
bool svd_divide_and_conquer(const SvdProblem<T>& p);

// Solves a float32 problem by a float64 route.
template <SvdRoute<double> route>
bool svd_in_float64(const SvdProblem<float>& p);

}  // namespace sigma::cpu
