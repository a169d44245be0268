#include "cpu/svd/partial.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/bidiagonal.h"
#include "cpu/svd/gram.h"
#include "cpu/svd/krylov.h"
#include "cpu/svd/probe.h"
#include "cpu/svd/routes.h"
#include "cpu/svd/tall.h"

namespace sigma::cpu {
namespace {

// Steps of the power method, at most.
constexpr int kImprovements = 2;
// Beyond this ratio of σ₁ to σ_k the Gram matrix bounds nothing.
constexpr double kSteepest = 256;

// Whether the gaps between singular values are so small that k of them hardly converge to the digits of float64. The
// participation ratio of values that fall in a straight line is 0.56 r, of a Gaussian matrix 0.5 r. An attempt at few
// of them costs little, and some may be far above the rest. Half of the digits may be worth an iteration.
template <class T>
bool is_too_flat(const SvdProblem<T>& p) {
  return sizeof(T) == sizeof(double) && 32 * int64_t{p.k} >= p.r && 4 * participation_ratio(p) > p.r;
}

// Triples of A, whose shorter side has r numbers: A x = s y and Aᵀ y = s x, or the same with Aᵀ for a wide A.
template <class T>
class Triples {
 public:
  // `a` (n, m) holds scale · A by columns.
  Triples(const SvdProblem<T>& p, const Columns<T>& a)
      : p_(p), a_(a), is_tall_(p.m >= p.n), length_(std::max(p.m, p.n)), x_(p.r, p.k), y_(length_, p.k),
        s_(numbers<T>(2 * static_cast<size_t>(p.k))) {}

  Columns<T> x() const { return x_.view(); }
  const T* s() const { return s_.get(); }

  // Rayleigh and Ritz: the k largest triples of A restricted to the span of `basis` (r, w), which is orthonormal, w ≤ 2
  // k.
  bool restrict(const Columns<T>& basis) {
    const int w = basis.columns;
    const auto square = static_cast<size_t>(w) * static_cast<size_t>(w);
    const auto memory = numbers<T>(3 * square);
    const PaddedColumns<T> image(length_, w);
    if (is_tall_) {
      multiply_transposed(a_, basis, image.view());
    } else {
      multiply(T{1}, a_, basis, T{0}, image.view());
    }
    T *const triangle = memory.get(), *const left = triangle + square, *const right = left + square;
    orthonormalise(image.view(), Columns<T>{triangle, w, w, w});
    // By rows, the triangle is Rᵀ, so its left vectors are those of the basis.
    if (!svd_divide_and_conquer(SvdProblem<T>(w, w, triangle, left, s_.get(), right))) return false;
    combine(basis, CblasTrans, left, x_.view());
    combine(image.view(), CblasNoTrans, right, y_.view());
    return true;
  }

  // One step of the power method: the span of Aᵀ Y instead of X.
  bool improve() {
    const PaddedColumns<T> image(p_.r, p_.k);
    const auto unused = numbers<T>(static_cast<size_t>(p_.k) * static_cast<size_t>(p_.k));
    if (is_tall_) {
      multiply(T{1}, a_, y_.view(), T{0}, image.view());
    } else {
      multiply_transposed(a_, y_.view(), image.view());
    }
    orthonormalise(image.view(), Columns<T>{unused.get(), p_.k, p_.k, p_.k});
    return restrict(image.view());
  }

  // Writes the triples of A.
  void write(T scale) const {
    const Columns<T> u{p_.u, p_.k, p_.m, p_.k}, v{p_.vt, p_.n, p_.k, p_.n};  // by columns
    const Columns<T> left = is_tall_ ? y_.view() : x(), right = is_tall_ ? x() : y_.view();
    for (int j = 0; j < p_.k; ++j) std::copy_n(right.column(j), p_.n, v.column(j));
    constexpr int kRows = 64;
    parallel_for(blocks(p_.m, kRows), [&](int64_t task) {
      const int begin = static_cast<int>(task) * kRows;
      for (int j = 0; j < p_.k; ++j) {
        for (int i = begin; i < begin + std::min(kRows, p_.m - begin); ++i) *u.at(j, i) = *left.at(i, j);
      }
    });
    std::copy_n(s(), p_.k, p_.s);
    svd_unscale(p_, scale);
  }

 private:
  // to (rows, k) = c Q, where q (w, w) has the columns of Q, or of Qᵀ.
  static void combine(const Columns<T>& c, CBLAS_TRANSPOSE transposed, const T* q, const Columns<T>& to) {
    constexpr int kTile = 256;
    parallel_for(blocks(c.rows, kTile), [&](int64_t task) {
      const int begin = static_cast<int>(task) * kTile;
      gemm_by_columns(CblasNoTrans, transposed, std::min(kTile, c.rows - begin), to.columns, c.columns,
                      /* alpha = */ T{1}, c.at(begin, 0), /* lda = */ c.stride, q, /* ldb = */ c.columns,
                      /* beta = */ T{0}, to.at(begin, 0), /* ldc = */ to.stride);
    });
  }

  const SvdProblem<T>& p_;
  Columns<T> a_;
  bool is_tall_;
  int length_;
  PaddedColumns<T> x_, y_;
  Numbers<T> s_;  // (2 k)
};

// a (n, m) -= V diag(s) Uᵀ, by columns.
template <class T>
void subtract_triples(const SvdProblem<T>& p, const T* s, const Columns<T>& a) {
  constexpr int kTile = 256;
  const auto scaled = numbers<T>(static_cast<size_t>(p.k) * static_cast<size_t>(p.m));
  parallel_for(blocks(p.m, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile;
    const int count = std::min(kTile, p.m - begin);
    const Columns<T> u{scaled.get(), p.k, p.m, p.k};
    for (int i = begin; i < begin + count; ++i) {
      for (int j = 0; j < p.k; ++j) u.column(i)[j] = s[j] * p.u[static_cast<size_t>(i) * p.k + j];
    }
    gemm_by_columns(CblasNoTrans, CblasNoTrans, p.n, count, p.k, /* alpha = */ T{-1}, p.vt, /* lda = */ p.n,
                    u.column(begin), /* ldb = */ p.k, /* beta = */ T{1}, a.column(begin), /* ldc = */ a.stride);
  });
}

// |G x - s² x| of the triples of a Gram matrix's eigenvectors, which its rounding makes: s |Aᵀ y - s x|.
template <class T>
double rounding_of(const SvdProblem<T>& p, const SvdMeasures& found, const T* s) {
  double inverse = 0, size = 0;
  for (int j = 0; j < p.k; ++j) {
    const double square = static_cast<double>(s[j]) * static_cast<double>(s[j]);
    inverse += 1 / square;
    size += square;
  }
  return found.residual / found.size * std::sqrt(size / inverse);
}

// Whether no singular value beyond the k largest exceeds the k-th by more than twice the residual's limit times the
// first. A Krylov space alone can miss one: it holds as many copies of a multiple singular value as it has starting
// vectors.
template <class T>
bool is_complete(const SvdProblem<T>& p, T scale, const Triples<T>& triples, const Columns<T>& g, double rounding) {
  const T* const s = triples.s();
  const double first = static_cast<double>(s[0]), last = static_cast<double>(s[p.k - 1]);
  const double bound = last + 2 * SvdLimits<T>::residual * first;
  // No eigenvalue of G beyond the k largest exceeds the largest one of G - X diag(s)² Xᵀ (Weyl), for any X and s. The
  // norm of G's rounding is about twice its image of a vector; four times are allowed for.
  const double allowed = 4 * rounding, margin = bound * bound - last * last;
  if (std::isfinite(rounding) && kSteepest * last >= first && 4 * allowed <= 3 * margin) {
    subtract_squares(triples.x(), s, g);
    return is_below(g, static_cast<T>(std::sqrt(bound * bound - allowed)));
  }
  // Rounding is relative to the rest, without the triples: A = U diag(s) Vᵀ + E, so none exceeds ‖E‖₂.
  const ScaledCopy<T> copy(p, scale);
  const Columns<T> rest{copy.data(), p.n, p.m, p.n};
  subtract_triples(p, s, rest);
  return norm_is_below(rest, static_cast<T>(bound));
}

}  // namespace

template <class T>
bool svd_partial(const SvdProblem<T>& p) {
  if (p.largest == 0 || is_too_flat(p)) return false;
  // The iteration has fourth powers of the singular values.
  const T scale = svd_scale(p.largest, 1024 * std::sqrt(std::sqrt(std::numeric_limits<T>::min())));
  const std::optional<ScaledCopy<T>> copy = scale == 1 ? std::nullopt : std::make_optional<ScaledCopy<T>>(p, scale);
  // Only read.
  const Columns<T> a{copy ? copy->data() : const_cast<T*>(p.a), p.n, p.m, p.n};
  const auto memory = numbers<T>(static_cast<size_t>(p.r) * static_cast<size_t>(p.r));
  const Columns<T> g{memory.get(), p.r, p.r, p.r};
  gram(a, g);
  Triples<T> triples(p, a);
  const auto vectors = largest_eigenvectors(SymmetricBlocks<T>(g), p.r, p.k, 0.5 * SvdLimits<T>::residual);
  if (!vectors) return false;
  SvdMeasures found{};
  bool solved = true;
  const auto misses = [&](bool restricted) {
    solved = solved && restricted;
    if (!solved) return false;
    triples.write(scale);
    found = svd_partial_measures(p);
    return svd_excess<T>(p.m, p.n, p.k, found) > 1;
  };
  const auto misses_with = [&](int count) {
    const PaddedColumns<T> basis(p.r, count);
    vectors->write(basis.view());
    return misses(triples.restrict(basis.view()));
  };
  // Rounding of G and of its projection is relative to the largest eigenvalue, so that triples of small singular values
  // may miss the limits: they are mixed with their neighbours, and with all others.
  bool missed = misses_with(p.k) && misses_with(2 * p.k);
  if (!solved) return false;
  const double rounding = rounding_of(p, found, triples.s());
  for (int round = 0; missed && round < kImprovements; ++round) missed = misses(triples.improve());
  return solved && !missed && is_complete(p, scale, triples, g, rounding);
}

template bool svd_partial<float>(const SvdProblem<float>&);
template bool svd_partial<double>(const SvdProblem<double>&);

}  // namespace sigma::cpu
