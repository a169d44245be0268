#include "cpu/svd/probe.h"

#include <algorithm>
#include <cstdint>

#include "cpu/runtime/simd.h"

namespace sigma::cpu {
namespace {

// kProbes contiguous vectors.
class Vectors {
 public:
  explicit Vectors(int length) : length_(length), numbers_(numbers<double>(static_cast<size_t>(length) * kProbes)) {
    std::fill_n(data(), length_ * kProbes, 0.0);
  }
  double* data() const { return numbers_.get(); }
  int64_t length() const { return length_; }
  double& at(int vector, int64_t i) const { return numbers_[static_cast<size_t>(vector * length_ + i)]; }
  double longest() const {
    double squares[kProbes] = {};
    for (int v = 0; v < kProbes; ++v) {
      for (int64_t begin = 0; begin < length_; begin += kBlock) {
        double part = 0;
        for (int64_t i = begin; i < std::min(length_, begin + kBlock); ++i) part += at(v, i) * at(v, i);
        squares[v] += part;
      }
    }
    return svd_longest(squares, kProbes);
  }

  // Longer sums are split into blocks, which limits rounding.
  static constexpr int64_t kBlock = 1024;

 private:
  int64_t length_;
  Numbers<double> numbers_;
};

// Probe vectors of signs, so that every component of an error has full weight. Up to kProbes components, they are the
// rows of a Hadamard matrix, which detect any error; longer vectors are random.
Vectors random_signs(int length) {
  static_assert(kProbes == 4, "the Hadamard matrix below has 4 rows");
  Vectors signs(length);
  uint64_t state = 0x9e3779b97f4a7c15;
  for (int i = 0; i < length; ++i) {
    state = state * 6364136223846793005 + 1442695040888963407;
    for (int v = 0; v < kProbes; ++v) {
      const bool hadamard = ((v & i & 1) ^ ((v & i) >> 1 & 1)) != 0;
      const bool negative = length <= kProbes ? hadamard : (state >> (63 - v) & 1) != 0;
      signs.at(v, i) = negative ? -1.0 : 1.0;
    }
  }
  return signs;
}

// Dot products of `unit` times a row with each vector of x, and the sum of squares of the scaled row.
template <class T>
struct RowDots {
  RowDots(const T* row, const Vectors& x, double unit = 1) {
    for (int64_t begin = 0; begin < x.length(); begin += Vectors::kBlock) {
      const int64_t count = std::min(Vectors::kBlock, x.length() - begin);
      double part[kProbes + 1];
      kernels<T>().probe_dots(count, row + begin, unit, x.data() + begin, x.length(), part);
      for (int v = 0; v <= kProbes; ++v) sums[v] += part[v];
    }
  }
  double sums[kProbes + 1] = {};
};

// y += Σ factor · row, summed in blocks of rows.
template <class T>
class RowSums {
 public:
  explicit RowSums(const Vectors& y) : y_(y), block_(static_cast<int>(y.length())) {}
  void add(const T* row, const double* factors) {
    kernels<T>().probe_add(y_.length(), row, factors, block_.data(), y_.length());
    if (++rows_ % kRows == 0) finish();
  }
  void finish() {
    for (int64_t i = 0; i < y_.length() * kProbes; ++i) {
      y_.data()[i] += block_.data()[i];
      block_.data()[i] = 0;
    }
  }

 private:
  static constexpr int64_t kRows = 256;
  const Vectors& y_;
  Vectors block_;
  int64_t rows_ = 0;
};

}  // namespace

template <class T>
SvdMeasures svd_measures(const SvdProblem<T>& p) {
  const auto rows_of = [](const T* matrix, int columns) {
    return [=](int i) { return matrix + static_cast<size_t>(i) * static_cast<size_t>(columns); };
  };
  const auto a = rows_of(p.a, p.n), u = rows_of(p.u, p.r), vt = rows_of(p.vt, p.n);
  const double unit = svd_unit(static_cast<double>(p.largest));
  const Vectors z = random_signs(p.n), w = random_signs(p.r);

  // inner = diag(s) Vt z; image = Vtᵀ w.
  const Vectors inner(p.r), image(p.n);
  RowSums<T> of_vt(image);
  bool in_order = true;
  double values = 0;
  for (int k = 0; k < p.r; ++k) {
    const double s = static_cast<double>(p.s[k]) * unit;
    in_order = in_order && s >= 0 && std::isfinite(s) && (k == 0 || p.s[k] <= p.s[k - 1]);
    values += s * s;
    const RowDots<T> dots(vt(k), z);
    double signs[kProbes];
    for (int v = 0; v < kProbes; ++v) {
      inner.at(v, k) = s * dots.sums[v];
      signs[v] = w.at(v, k);
    }
    of_vt.add(vt(k), signs);
  }
  of_vt.finish();

  // A z − U diag(s) Vt z, and Uᵀ U w.
  const Vectors off(p.m), back_u(p.r), back_vt(p.r);
  RowSums<T> of_u(back_u);
  double squares = 0, part = 0;
  for (int i = 0; i < p.m; ++i) {
    const RowDots<T> wanted(a(i), z, unit), found(u(i), inner), turned(u(i), w);
    for (int v = 0; v < kProbes; ++v) off.at(v, i) = wanted.sums[v] - found.sums[v];
    part += wanted.sums[kProbes];
    if ((i + 1) % Vectors::kBlock == 0 || i + 1 == p.m) {
      squares += part;
      part = 0;
    }
    of_u.add(u(i), turned.sums);
  }
  of_u.finish();

  for (int k = 0; k < p.r; ++k) {
    const RowDots<T> dots(vt(k), image);
    for (int v = 0; v < kProbes; ++v) {
      back_vt.at(v, k) = dots.sums[v] - w.at(v, k);
      back_u.at(v, k) -= w.at(v, k);
    }
  }
  return {unit, off.longest(), std::sqrt(squares), std::sqrt(values), back_u.longest(), back_vt.longest(), in_order};
}

template <class T>
SvdMeasures svd_partial_measures(const SvdProblem<T>& p) {
  const auto row_of = [](const T* matrix, int columns, int i) {
    return matrix + static_cast<size_t>(i) * static_cast<size_t>(columns);
  };
  const double unit = svd_unit(static_cast<double>(p.largest));
  const Vectors w = random_signs(p.k), weighted(p.k);
  bool in_order = true;
  double squares = 0;
  for (int j = 0; j < p.k; ++j) {
    const double s = static_cast<double>(p.s[j]) * unit;
    in_order = in_order && s >= 0 && std::isfinite(s) && (j == 0 || p.s[j] <= p.s[j - 1]);
    squares += s * s;
    for (int v = 0; v < kProbes; ++v) weighted.at(v, j) = s * w.at(v, j);
  }

  // V w, and V diag(s) w with the opposite sign.
  const Vectors inputs(p.n), off_v(p.n);
  {
    RowSums<T> of_w(inputs), of_weighted(off_v);
    for (int j = 0; j < p.k; ++j) {
      double plain[kProbes], minus[kProbes];
      for (int v = 0; v < kProbes; ++v) {
        plain[v] = w.at(v, j);
        minus[v] = -weighted.at(v, j);
      }
      of_w.add(row_of(p.vt, p.n, j), plain);
      of_weighted.add(row_of(p.vt, p.n, j), minus);
    }
    of_w.finish();
    of_weighted.finish();
  }

  const Vectors off_u(p.m), back_u(p.k), back_vt(p.k);
  {
    RowSums<T> of_a(off_v), of_u(back_u);
    for (int i = 0; i < p.m; ++i) {
      const T* const u = row_of(p.u, p.k, i);
      const T* const a = row_of(p.a, p.n, i);
      const RowDots<T> image(a, inputs, unit), found(u, weighted), outputs(u, w);
      double scaled[kProbes];
      for (int v = 0; v < kProbes; ++v) {
        off_u.at(v, i) = image.sums[v] - found.sums[v];
        scaled[v] = unit * outputs.sums[v];
      }
      of_a.add(a, scaled);
      of_u.add(u, outputs.sums);
    }
    of_a.finish();
    of_u.finish();
  }
  for (int j = 0; j < p.k; ++j) {
    const RowDots<T> dots(row_of(p.vt, p.n, j), inputs);
    for (int v = 0; v < kProbes; ++v) {
      back_vt.at(v, j) = dots.sums[v] - w.at(v, j);
      back_u.at(v, j) -= w.at(v, j);
    }
  }
  const double size = std::sqrt(squares), residual = std::max(off_u.longest(), off_v.longest());
  return {unit, residual, size, size, back_u.longest(), back_vt.longest(), in_order};
}

template SvdMeasures svd_partial_measures<float>(const SvdProblem<float>&);
template SvdMeasures svd_partial_measures<double>(const SvdProblem<double>&);
template SvdMeasures svd_measures<float>(const SvdProblem<float>&);
template SvdMeasures svd_measures<double>(const SvdProblem<double>&);

}  // namespace sigma::cpu
