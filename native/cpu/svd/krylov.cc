#include "cpu/svd/krylov.h"

#include <cmath>
#include <cstdint>
#include <limits>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/bidiagonal.h"
#include "cpu/svd/lapack.h"
#include "cpu/svd/panel_qr.h"
#include "cpu/svd/reflectors.h"
#include "cpu/svd/routes.h"

namespace sigma::cpu {
namespace {

// Rows per task of a product.
constexpr int kTile = 256;

template <class T>
Columns<T> leading(const Columns<T>& c, int columns) {
  return {c.data, c.rows, columns, c.stride};
}

// y = aᵀ x, by tiles of the rows of y. OpenBLAS packs a wide second operand faster than a tall first one.
template <class T>
void multiply_transposed(const Columns<T>& a, const Columns<T>& x, const Columns<T>& y) {
  parallel_for(blocks(y.rows, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile;
    const int count = std::min(kTile, y.rows - begin);
    const auto turned = numbers<T>(static_cast<size_t>(y.columns) * static_cast<size_t>(count));
    gemm_by_columns(CblasTrans, CblasNoTrans, y.columns, count, x.rows, /* alpha = */ T{1}, x.data,
                    /* lda = */ x.stride, a.column(begin), /* ldb = */ a.stride, /* beta = */ T{0}, turned.get(),
                    /* ldc = */ y.columns);
    for (int j = 0; j < y.columns; ++j) {
      for (int i = 0; i < count; ++i) *y.at(begin + i, j) = turned[static_cast<size_t>(i) * y.columns + j];
    }
  });
}

// y = alpha a x + beta y, by tiles of the rows of y.
template <class T>
void multiply(T alpha, const Columns<T>& a, const Columns<T>& x, T beta, const Columns<T>& y) {
  parallel_for(blocks(y.rows, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile;
    gemm_by_columns(CblasNoTrans, CblasNoTrans, std::min(kTile, y.rows - begin), y.columns, x.rows, alpha,
                    a.at(begin, 0), /* lda = */ a.stride, x.data, /* ldb = */ x.stride, beta, y.at(begin, 0),
                    /* ldc = */ y.stride);
  });
}

// An orthonormal basis that grows by blocks of columns.
template <class T>
class Basis {
 public:
  Basis(int rows, int most) : memory_(rows, most), inner_(numbers<T>(static_cast<size_t>(most) * kWidest)) {}
  static constexpr int kWidest = 32;

  int size() const { return size_; }
  Columns<T> all() const { return leading(memory_.view(), size_); }
  Columns<T> last(int width) const { return block(size_ - width, width); }
  // Memory of the next block, of which `add` makes columns of the basis.
  Columns<T> next(int width) const { return block(size_, width); }

  // Orthonormalises the next block W against the basis and within itself: W = Q C + W' R, with C in the leading rows of
  // `coefficients` and R (width, width) below them. Twice is enough (Giraud, Langou and Rozložník 2005).
  void add(int width, const Columns<T>& coefficients) {
    const Columns<T> w = next(width);
    const auto size = static_cast<size_t>(width) * static_cast<size_t>(width);
    const auto memory = numbers<T>(3 * size);
    const Columns<T> r1{memory.get(), width, width, width}, r2{memory.get() + size, width, width, width};
    const Columns<T> c1{coefficients.data, size_, width, coefficients.stride};
    const Columns<T> c2{inner_.get(), size_, width, std::max(1, size_)};
    project(w, c1);
    orthonormalise(w, r1);
    project(w, c2);
    orthonormalise(w, r2);
    if (size_ > 0) multiply(T{1}, c2, r1, T{1}, c1);
    multiply(T{1}, r2, r1, T{0}, Columns<T>{coefficients.at(size_, 0), width, width, coefficients.stride});
    size_ += width;
  }

 private:
  Columns<T> block(int begin, int width) const {
    const Columns<T> whole = memory_.view();
    return {whole.column(begin), whole.rows, width, whole.stride};
  }

  // c = Qᵀ w; w -= Q c.
  void project(const Columns<T>& w, const Columns<T>& c) const {
    if (size_ == 0) return;
    const Columns<T> q = all();
    parallel_for(blocks(size_, kBasisTile), [&](int64_t task) {
      const int begin = static_cast<int>(task) * kBasisTile;
      const int count = std::min(kBasisTile, size_ - begin);
      add_inner_products({q.column(begin), q.rows, count, q.stride}, w, T{0},
                         {c.at(begin, 0), count, w.columns, c.stride});
    });
    multiply(T{-1}, q, c, T{1}, w);
  }

  // w = Q r, w becomes Q. By Cholesky of wᵀw if w is well-conditioned, else by reflectors, which give orthonormal
  // columns also for a w of lower rank.
  void orthonormalise(const Columns<T>& w, const Columns<T>& r) const {
    const int k = w.columns;
    add_inner_products(w, w, T{0}, r);
    if (Lapack<T>::potrf("U", k, r.data, /* lda = */ r.stride) == 0 && is_regular(r)) {
      const auto inverse = numbers<T>(static_cast<size_t>(k) * static_cast<size_t>(k));
      const Columns<T> to{inverse.get(), k, k, k};
      for (int j = 0; j < k; ++j) {
        std::fill_n(r.at(j, j) + 1, k - j - 1, T{0});
        std::copy_n(r.column(j), k, to.column(j));
      }
      Lapack<T>::trtri(/* uplo = */ "U", /* diag = */ "N", k, to.data, /* lda = */ k);
      const auto copied = numbers<T>(static_cast<size_t>(w.rows) * static_cast<size_t>(k));
      const Columns<T> copy{copied.get(), w.rows, k, w.rows};
      for (int j = 0; j < k; ++j) std::copy_n(w.column(j), w.rows, copy.column(j));
      multiply(T{1}, copy, to, T{0}, w);
      return;
    }
    PaddedColumns<T> copy(w.rows, k);
    for (int j = 0; j < k; ++j) std::copy_n(w.column(j), w.rows, copy.view().column(j));
    const PanelQr<T> qr(copy.view());
    qr.copy_triangle(r);
    for (int j = 0; j < k; ++j) {
      std::fill_n(w.column(j), k, T{0});
      *w.at(j, j) = 1;
    }
    qr.apply(w);
  }

  // Cholesky loses the square of this ratio in orthogonality, which the second pass restores.
  static bool is_regular(const Columns<T>& r) {
    T least = std::abs(*r.at(0, 0)), most = least;
    for (int j = 1; j < r.columns; ++j) {
      least = std::min(least, std::abs(*r.at(j, j)));
      most = std::max(most, std::abs(*r.at(j, j)));
    }
    return std::isfinite(most) && least * 100 > most;
  }

  static constexpr int kBasisTile = 128;
  PaddedColumns<T> memory_;
  Numbers<T> inner_;
  int size_ = 0;
};

// Signs from a fixed seed, so that the result is a function of A.
template <class T>
void fill_signs(const Columns<T>& c) {
  uint64_t state = 0x853c49e6748fea9b;
  for (int j = 0; j < c.columns; ++j) {
    for (int i = 0; i < c.rows; ++i) {
      state = state * 6364136223846793005 + 1442695040888963407;
      c.column(j)[i] = state >> 63 != 0 ? T{-1} : T{1};
    }
  }
}

// The SVD H = X diag(s) Yᵀ of a projected matrix (d, d). X by columns, Y by rows.
template <class T>
struct Projected {
  explicit Projected(int most)
      : room(static_cast<size_t>(most) * static_cast<size_t>(most)), h(numbers<T>(room)), x(numbers<T>(room)),
        y(numbers<T>(room)), s(numbers<T>(static_cast<size_t>(most))) {}
  // `from` holds H in its leading corner.
  bool solve(const Columns<T>& from, int d) {
    for (int j = 0; j < d; ++j) std::copy_n(from.column(j), d, h.get() + static_cast<size_t>(j) * d);
    return svd_divide_and_conquer(SvdProblem<T>(d, d, h.get(), y.get(), s.get(), x.get()));
  }
  size_t room;
  Numbers<T> h, x, y, s;
};

}  // namespace

template <class T>
bool svd_krylov(const SvdProblem<T>& p, const Columns<T>& a) {
  const int k = p.k;
  // More starting vectors make faster products, fewer make better use of each dimension.
  const int width = k <= 64 ? 16 : 32;
  // Beyond a third of r a decomposition is cheaper.
  const int most = p.r / 3 / width * width;
  if (most < k + 2 * width) return false;
  Basis<T> left(p.m, most), right(p.n, most + width);
  const auto memory = numbers<T>(static_cast<size_t>(most) * static_cast<size_t>(most));
  const auto spare = numbers<T>(static_cast<size_t>(most + width) * static_cast<size_t>(width));
  const Columns<T> h{memory.get(), most, most, most}, beyond{spare.get(), most + width, width, most + width};
  Projected<T> found(most);

  fill_signs(right.next(width));
  right.add(width, beyond);
  const double wanted = 0.5 * SvdLimits<T>::residual;
  // The first k dimensions leave errors of about 1.
  double before = 1;
  int before_at = k;
  for (int next_check = std::max(5 * k / 2, 4 * width); left.size() + width <= most;) {
    // A V = U H and Aᵀ U = V Hᵀ + V' S Eᵀ, where E has the last `width` columns of the identity.
    const int d = left.size();
    multiply_transposed(a, right.last(width), left.next(width));
    const Columns<T> column{h.column(d), most, width, most};
    for (int j = 0; j < width; ++j) std::fill_n(column.column(j), most, T{0});
    left.add(width, column);
    multiply(T{1}, a, left.last(width), T{0}, right.next(width));
    right.add(width, beyond);
    const int size = d + width;
    if (size < next_check && size + width <= most) continue;

    if (!found.solve(h, size)) return false;
    // |Aᵀ u - s v| of a triple u = U x is |S xₗ| with xₗ the last `width` numbers of x.
    const Columns<T> s{beyond.at(size, 0), width, width, beyond.stride};
    const Columns<T> x{found.x.get(), size, size, size};
    const auto memory_of_off = numbers<T>(static_cast<size_t>(width) * static_cast<size_t>(k));
    const Columns<T> off{memory_of_off.get(), width, k, width};
    multiply(T{1}, s, Columns<T>{x.at(size - width, 0), width, k, x.stride}, T{0}, off);
    double worst = 0;
    for (int j = 0; j < k; ++j) {
      double squares = 0;
      for (int i = 0; i < width; ++i)
        squares += static_cast<double>(off.column(j)[i]) * static_cast<double>(off.column(j)[i]);
      worst = std::fmax(worst, std::sqrt(squares));
    }
    worst /= static_cast<double>(found.s[0]);
    if (!std::isfinite(worst)) return false;
    if (worst <= wanted) {
      std::copy_n(found.s.get(), k, p.s);
      // By columns, p.u is (k, m) and p.vt is (n, k).
      const Columns<T> u{p.u, k, p.m, k}, basis = left.all();
      parallel_for(blocks(p.m, kTile), [&](int64_t task) {
        const int begin = static_cast<int>(task) * kTile;
        gemm_by_columns(CblasTrans, CblasTrans, k, std::min(kTile, p.m - begin), size, /* alpha = */ T{1}, x.data,
                        /* lda = */ x.stride, basis.at(begin, 0), /* ldb = */ basis.stride, /* beta = */ T{0},
                        u.column(begin), /* ldc = */ k);
      });
      const auto turned = numbers<T>(static_cast<size_t>(size) * static_cast<size_t>(k));
      const Columns<T> y{turned.get(), size, k, size};
      for (int j = 0; j < k; ++j) {
        for (int i = 0; i < size; ++i) y.column(j)[i] = found.y[static_cast<size_t>(i) * size + j];
      }
      multiply(T{1}, leading(right.all(), size), y, T{0}, Columns<T>{p.vt, p.n, k, p.n});
      return true;
    }
    // The next check is where the decay of the error since the last one predicts convergence. The decay gets faster.
    const double rate = std::fmax(1e-9, std::log(before / worst)) / (size - before_at);
    const double need = 0.75 * std::log(worst / wanted) / rate;
    if (size + need > 1.2 * most && 4 * size > most) return false;
    before = worst;
    before_at = size;
    next_check = size + static_cast<int>(std::clamp<double>(need, width, most));
  }
  return false;
}

template bool svd_krylov<float>(const SvdProblem<float>&, const Columns<float>&);
template bool svd_krylov<double>(const SvdProblem<double>&, const Columns<double>&);

}  // namespace sigma::cpu
