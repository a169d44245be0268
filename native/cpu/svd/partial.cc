#include "cpu/svd/partial.h"

#include "cpu/runtime/pool.h"
#include "cpu/svd/krylov.h"
#include "cpu/svd/norm_bound.h"
#include "cpu/svd/probe.h"

namespace sigma::cpu {
namespace {

// a (n, m) -= V diag(s) Uᵀ, by columns.
template <class T>
void subtract_triples(const SvdProblem<T>& p, const Columns<T>& a) {
  constexpr int kTile = 256;
  const auto scaled = numbers<T>(static_cast<size_t>(p.k) * static_cast<size_t>(p.m));
  parallel_for(blocks(p.m, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile;
    const int count = std::min(kTile, p.m - begin);
    const Columns<T> u{scaled.get(), p.k, p.m, p.k};
    for (int i = begin; i < begin + count; ++i) {
      for (int j = 0; j < p.k; ++j) u.column(i)[j] = p.s[j] * p.u[static_cast<size_t>(i) * p.k + j];
    }
    gemm_by_columns(CblasNoTrans, CblasNoTrans, p.n, count, p.k, /* alpha = */ T{-1}, p.vt, /* lda = */ p.n,
                    u.column(begin), /* ldb = */ p.k, /* beta = */ T{1}, a.column(begin), /* ldc = */ a.stride);
  });
}

}  // namespace

template <class T>
bool svd_partial(const SvdProblem<T>& p) {
  if (p.largest == 0) return false;
  const ScaledCopy<T> copy(p);
  const Columns<T> a{copy.data(), p.n, p.m, p.n};
  if (!svd_krylov(p, a)) return false;
  // A = U diag(s) Vᵀ + E, so no singular value beyond the k largest exceeds ‖E‖₂ (Weyl). A Krylov space alone can miss
  // one: it holds as many copies of a multiple singular value as it has starting vectors.
  subtract_triples(p, a);
  const T bound = p.s[p.k - 1] + static_cast<T>(2 * SvdLimits<T>::residual) * p.s[0];
  if (!norm_is_below(a, bound)) return false;
  copy.restore(p);
  return svd_excess<T>(p.m, p.n, p.k, svd_partial_measures(p)) <= 1;
}

template bool svd_partial<float>(const SvdProblem<float>&);
template bool svd_partial<double>(const SvdProblem<double>&);

}  // namespace sigma::cpu
