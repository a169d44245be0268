// CholeskyQR2 (Yamamoto, Nakatsukasa, Yanagisawa, Fukaya 2015) of C (rows, columns): twice G = CᵀC = RᵀR, C = C R⁻¹.
// All of it is products and triangular solves, which a GPU does many times faster than Householder reflections. It
// needs columns that are far from dependent after scaling: those of A V are orthogonal but for the smallest singular
// values.
#include <algorithm>
#include <cmath>

#include "cuda/svd/routes.h"

namespace sigma::cuda {
namespace {

// |Q1ᵀQ1 - I| of the first Q must be below this in the Frobenius norm, and the second is then orthonormal to rounding.
constexpr double kMostDeviation = 0.1;

// G = CᵀC = RᵀR, with R in the upper triangle of G.
void factor(const SvdBatch& batch, double* g, int* info) {
  const Libraries& l = libraries();
  const SvdLane& lane = batch.lane;
  const int n = svd_int(batch.shape.columns(), "gram64");
  int length = 0;
  check(l.cusolverDnDpotrf_bufferSize(lane.solver(), CUBLAS_FILL_MODE_UPPER, n, g, /* lda = */ n, &length), "gram64");
  for (int64_t i = 0; i < batch.count; ++i) {
    const Memory work = lane.workspace(svd_length(length, "gram64") * sizeof(double));
    check(l.cusolverDnDpotrf(lane.solver(), CUBLAS_FILL_MODE_UPPER, n, g + i * n * n, /* lda = */ n,
                             static_cast<double*>(work.data()), length, info + i),
          "gram64");
  }
}

// C = C R⁻¹
void solve(const SvdBatch& batch, const double* g, double* c) {
  const int64_t m = batch.shape.rows(), n = batch.shape.columns();
  const double one = 1;
  for (int64_t i = 0; i < batch.count; ++i) {
    check(libraries().cublasDtrsm_v2_64(batch.lane.blas(), CUBLAS_SIDE_RIGHT, CUBLAS_FILL_MODE_UPPER, CUBLAS_OP_N,
                                        CUBLAS_DIAG_NON_UNIT, m, n, &one, g + i * n * n, /* lda = */ n, c + i * m * n,
                                        /* ldb = */ m),
          "gram64");
  }
}

}  // namespace

bool svd_cholesky_qr(const SvdBatch& batch, double* c, double* values) {
  const int64_t n = batch.shape.columns();
  const SvdNumbers<double> g(batch.lane, batch.count * n * n);
  const SvdNumbers<int> info(batch.lane, 2 * batch.count);
  info.zero();
  const auto pass = [&](int* failures, bool second) {
    factor(batch, g.data(), failures);
    svd_diagonal(batch, g.data(), n, values, second);
    solve(batch, g.data(), c);
  };
  svd_gram(batch, c, g.data());
  pass(info.data(), false);
  svd_gram(batch, c, g.data());
  const std::vector<double> deviations = svd_deviations(batch, g.data());
  // A NaN compares as false.
  const auto is_small = [](double deviation) { return deviation < kMostDeviation; };
  if (!std::all_of(deviations.begin(), deviations.end(), is_small)) return false;
  pass(info.data() + batch.count, true);
  const std::vector<bool> factored = svd_solved(info);
  return std::all_of(factored.begin(), factored.end(), [](bool each) { return each; });
}

}  // namespace sigma::cuda
