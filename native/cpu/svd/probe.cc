#include "cpu/svd/probe.h"

#include <algorithm>
#include <cstdint>
#include <numeric>

#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"

namespace sigma::cpu {
namespace {

// Columns of a product at a time: the four vectors take 64 KB, and rows are read in long runs. Sums are split there
// too, which limits rounding.
constexpr int64_t kPart = 2048;
// Rows per task, whose sums are added in the order of the tasks.
constexpr int kTaskRows = 256;

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
      for (int64_t begin = 0; begin < length_; begin += kPart) {
        double part = 0;
        for (int64_t i = begin; i < std::min(length_, begin + kPart); ++i) part += at(v, i) * at(v, i);
        squares[v] += part;
      }
    }
    return svd_longest(squares, kProbes);
  }

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

// A matrix by rows.
template <class T>
struct Rows {
  const T* data;
  int rows, columns;
  const T* at(int i, int64_t j) const { return data + static_cast<int64_t>(i) * columns + j; }
};

// The rows of one task.
struct Part {
  int64_t task;
  int begin, end;
};

// Calls body(part) for the tasks of `rows` rows.
template <class Body>
void for_parts(int rows, const Body& body) {
  parallel_for(blocks(rows, kTaskRows), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTaskRows;
    body(Part{task, begin, begin + std::min(kTaskRows, rows - begin)});
  });
}

// Dot products of `unit` times the rows of a part with each vector of x, and the sum of squares of each scaled row.
template <class T>
class RowDots {
 public:
  RowDots(const Rows<T>& a, const Part& part, const Vectors& x, double unit = 1) : begin_(part.begin) {
    std::fill_n(sums_[0], (part.end - part.begin) * (kProbes + 1), 0.0);
    for (int64_t column = 0; column < a.columns; column += kPart) {
      kernels<T>().probe_dots(part.end - part.begin, std::min(kPart, a.columns - column), a.at(part.begin, column),
                              a.columns, unit, x.data() + column, x.length(), sums_);
    }
  }
  const double* of(int row) const { return sums_[row - begin_]; }
  void write(const Part& part, const Vectors& to) const {
    for (int i = part.begin; i < part.end; ++i) {
      for (int v = 0; v < kProbes; ++v) to.at(v, i) = of(i)[v];
    }
  }

 private:
  int begin_;
  double sums_[kTaskRows][kProbes + 1];
};

// Factors of the rows of a part.
struct Factors {
  double numbers[kTaskRows][kProbes];
};

// y += Σ factor · row over the rows of a matrix, each task into sums of its own.
class RowSums {
 public:
  RowSums(int rows, int length)
      : length_(length), tasks_(blocks(rows, kTaskRows)), sums_(numbers<double>(static_cast<size_t>(tasks_) * size())) {
  }
  template <class T>
  void add(const Rows<T>& a, const Part& part, const Factors& factors) const {
    double* const y = of(part.task);
    std::fill_n(y, size(), 0.0);
    for (int64_t column = 0; column < a.columns; column += kPart) {
      kernels<T>().probe_add(part.end - part.begin, std::min(kPart, a.columns - column), a.at(part.begin, column),
                             a.columns, factors.numbers, y + column, length_);
    }
  }
  void finish(const Vectors& y) const {
    for (int64_t task = 0; task < tasks_; ++task) {
      for (size_t i = 0; i < size(); ++i) y.data()[i] += of(task)[i];
    }
  }

 private:
  size_t size() const { return static_cast<size_t>(length_) * kProbes; }
  double* of(int64_t task) const { return sums_.get() + static_cast<size_t>(task) * size(); }

  int64_t length_, tasks_;
  Numbers<double> sums_;
};

// Factors of row i: factor · w[v][i].
void take(const Vectors& w, const Part& part, double factor, Factors& to) {
  for (int i = part.begin; i < part.end; ++i) {
    for (int v = 0; v < kProbes; ++v) to.numbers[i - part.begin][v] = factor * w.at(v, i);
  }
}

// to = diag(s) x, with the scaled singular values.
template <class T>
void weigh(const SvdProblem<T>& p, double unit, const Vectors& x, const Vectors& to) {
  for (int j = 0; j < p.k; ++j) {
    for (int v = 0; v < kProbes; ++v) to.at(v, j) = static_cast<double>(p.s[j]) * unit * x.at(v, j);
  }
}

// to -= from
void subtract(const Vectors& from, const Vectors& to) {
  for (int64_t i = 0; i < to.length() * kProbes; ++i) to.data()[i] -= from.data()[i];
}

// ‖s‖, and whether s is finite, not negative and not rising.
template <class T>
double size_of_values(const SvdProblem<T>& p, double unit, bool& in_order) {
  double squares = 0;
  in_order = true;
  for (int j = 0; j < p.k; ++j) {
    const double s = static_cast<double>(p.s[j]) * unit;
    in_order = in_order && s >= 0 && std::isfinite(s) && (j == 0 || p.s[j] <= p.s[j - 1]);
    squares += s * s;
  }
  return std::sqrt(squares);
}

}  // namespace

template <class T>
SvdMeasures svd_measures(const SvdProblem<T>& p) {
  const Rows<T> a{p.a, p.m, p.n}, u{p.u, p.m, p.r}, vt{p.vt, p.r, p.n};
  const double unit = svd_unit(static_cast<double>(p.largest));
  const Vectors z = random_signs(p.n), w = random_signs(p.r);

  // inner = diag(s) Vt z; image = Vtᵀ w.
  const Vectors inner(p.r), image(p.n);
  const RowSums of_vt(p.r, p.n);
  for_parts(p.r, [&](const Part& part) {
    const RowDots<T> dots(vt, part, z);
    dots.write(part, inner);
    Factors signs;
    take(w, part, 1, signs);
    of_vt.add(vt, part, signs);
  });
  weigh(p, unit, inner, inner);
  of_vt.finish(image);

  // A z − U diag(s) Vt z, and Uᵀ U w.
  const Vectors off(p.m), back_u(p.r);
  const RowSums of_u(p.m, p.r);
  const auto squares = numbers<double>(static_cast<size_t>(blocks(p.m, kTaskRows)));
  for_parts(p.m, [&](const Part& part) {
    const RowDots<T> wanted(a, part, z, unit), found(u, part, inner), turned(u, part, w);
    Factors factors;
    double sum = 0;
    for (int i = part.begin; i < part.end; ++i) {
      sum += wanted.of(i)[kProbes];
      for (int v = 0; v < kProbes; ++v) {
        off.at(v, i) = wanted.of(i)[v] - found.of(i)[v];
        factors.numbers[i - part.begin][v] = turned.of(i)[v];
      }
    }
    squares[static_cast<size_t>(part.task)] = sum;
    of_u.add(u, part, factors);
  });
  of_u.finish(back_u);
  const double size = std::sqrt(std::accumulate(squares.get(), squares.get() + blocks(p.m, kTaskRows), 0.0));

  const Vectors back_vt(p.r);
  for_parts(p.r, [&](const Part& part) { RowDots<T>(vt, part, image).write(part, back_vt); });
  subtract(w, back_u);
  subtract(w, back_vt);
  bool in_order = false;
  const double values = size_of_values(p, unit, in_order);
  return {unit, off.longest(), size, values, back_u.longest(), back_vt.longest(), in_order};
}

template <class T>
SvdMeasures svd_partial_measures(const SvdProblem<T>& p) {
  const Rows<T> a{p.a, p.m, p.n}, u{p.u, p.m, p.k}, vt{p.vt, p.k, p.n};
  const double unit = svd_unit(static_cast<double>(p.largest));
  const Vectors w = random_signs(p.k), weighted(p.k);
  weigh(p, unit, w, weighted);

  // V w, and V diag(s) w with the opposite sign.
  const Vectors inputs(p.n), off_v(p.n);
  const RowSums of_w(p.k, p.n), of_weighted(p.k, p.n);
  for_parts(p.k, [&](const Part& part) {
    Factors factors;
    take(w, part, 1, factors);
    of_w.add(vt, part, factors);
    take(weighted, part, -1, factors);
    of_weighted.add(vt, part, factors);
  });
  of_w.finish(inputs);
  of_weighted.finish(off_v);

  // A V w − U diag(s) w, Aᵀ U w − V diag(s) w, and Uᵀ U w.
  const Vectors off_u(p.m), back_u(p.k);
  const RowSums of_a(p.m, p.n), of_u(p.m, p.k);
  for_parts(p.m, [&](const Part& part) {
    const RowDots<T> image(a, part, inputs, unit), found(u, part, weighted), outputs(u, part, w);
    Factors plain, scaled;
    for (int i = part.begin; i < part.end; ++i) {
      for (int v = 0; v < kProbes; ++v) {
        off_u.at(v, i) = image.of(i)[v] - found.of(i)[v];
        plain.numbers[i - part.begin][v] = outputs.of(i)[v];
        scaled.numbers[i - part.begin][v] = unit * outputs.of(i)[v];
      }
    }
    of_a.add(a, part, scaled);
    of_u.add(u, part, plain);
  });
  of_a.finish(off_v);
  of_u.finish(back_u);

  const Vectors back_vt(p.k);
  for_parts(p.k, [&](const Part& part) { RowDots<T>(vt, part, inputs).write(part, back_vt); });
  subtract(w, back_u);
  subtract(w, back_vt);
  bool in_order = false;
  const double size = size_of_values(p, unit, in_order), residual = std::max(off_u.longest(), off_v.longest());
  return {unit, residual, size, size, back_u.longest(), back_vt.longest(), in_order};
}

template <class T>
double participation_ratio(const SvdProblem<T>& p) {
  const Rows<T> a{p.a, p.m, p.n};
  const double unit = svd_unit(static_cast<double>(p.largest));
  const Vectors z = random_signs(p.n), images(p.m), back(p.n);
  const RowSums of_a(p.m, p.n);
  for_parts(p.m, [&](const Part& part) {
    RowDots<T>(a, part, z, unit).write(part, images);
    Factors factors;
    take(images, part, unit, factors);
    of_a.add(a, part, factors);
  });
  of_a.finish(back);
  // z is a vector of signs: E |A z|² = Σ σ², and E |Aᵀ A z|² = Σ σ⁴ (Hutchinson 1990).
  double sum = 0, squares = 0;
  for (int v = 0; v < kProbes; ++v) {
    for (int i = 0; i < p.m; ++i) sum += images.at(v, i) * images.at(v, i);
    for (int j = 0; j < p.n; ++j) squares += back.at(v, j) * back.at(v, j);
  }
  return sum / kProbes * sum / squares;
}

template double participation_ratio<float>(const SvdProblem<float>&);
template double participation_ratio<double>(const SvdProblem<double>&);
template SvdMeasures svd_partial_measures<float>(const SvdProblem<float>&);
template SvdMeasures svd_partial_measures<double>(const SvdProblem<double>&);
template SvdMeasures svd_measures<float>(const SvdProblem<float>&);
template SvdMeasures svd_measures<double>(const SvdProblem<double>&);

}  // namespace sigma::cpu
