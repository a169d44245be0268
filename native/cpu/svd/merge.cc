#include "cpu/svd/merge.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <iterator>
#include <limits>
#include <vector>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"
#include "cpu/svd/secular.h"

namespace sigma::cpu {
namespace {

// Columns or roots per task, where a task does little.
constexpr int kFew = 16;

// Which rows of a part a column of its U and V has numbers in.
enum Half : int { kUpper = 1, kLower = 2, kBoth = 3 };

// Joins the SVDs of two parts and the row between them. With the parts' singular vectors as bases, B is diag(0, d₁, d₂,
// …) with a full row z on top. The SVD of this matrix has the roots of a secular equation as singular values, and its
// vectors are known from them. Values that are equal, or whose z is 0, up to rounding, are left out ("deflated").
template <class T>
class Merge {
 public:
  explicit Merge(const Halves<T>& halves)
      : upper_(halves.upper), size_(halves.size), extra_(halves.extra), d_(halves.d), u_(halves.u), v_(halves.v),
        u2_(halves.u2), v2_(halves.v2), p_(halves.p), half_(at(size_)), z_(at(size_)) {
    const int* const order = halves.order;
    sorted_.assign(order, order + upper_);
    std::transform(order + upper_ + 1, order + size_, std::back_inserter(sorted_),
                   [&](int j) { return upper_ + 1 + j; });
    std::inplace_merge(sorted_.begin(), sorted_.begin() + upper_, sorted_.end(),
                       [&](int i, int j) { return d_[i] < d_[j]; });
    d_[upper_] = 0;
    set_scale(std::max({std::abs(halves.alpha), std::abs(halves.beta), d_[sorted_.back()]}));
    set_row(halves.alpha * scale_, halves.beta * scale_);
  }

  bool run() {
    if (tolerance_ == 0) {
      std::fill_n(d_, size_, T{0});
      *u_.at(upper_, upper_) = 1;
      return true;
    }
    deflate();
    arrange();
    gather();
    std::vector<T> exact(kept_.size()), exact_d(kept_.size());
    if (!solve(exact.data())) return false;
    std::transform(exact.begin(), exact.end(), kept_d_.begin(), exact_d.begin(), std::multiplies<T>());
    multiply(exact.data(), exact_d.data());
    return true;
  }

 private:
  // A power of two, which does not round. Below the normal numbers everything counts as 0, which the tolerance says:
  // the whole matrix is scaled.
  void set_scale(T largest) {
    using Range = std::numeric_limits<T>;
    if (largest < Range::min()) return;
    if (std::isfinite(largest)) scale_ = std::ldexp(T{1}, std::max(-std::ilogb(largest), Range::min_exponent));
    tolerance_ = 4 * Range::epsilon() * (largest * scale_);
    for (int j = 0; j < size_; ++j) d_[j] *= scale_;
  }

  // z: the middle row of B times V. The columns that the parts have more than rows become one with a z and one without.
  void set_row(T alpha, T beta) {
    for (int j = 0; j < upper_; ++j) {
      z_[at(j)] = alpha * *v_.at(upper_, j);
      half_[at(j)] = kUpper;
    }
    for (int j = upper_ + 1; j < size_; ++j) {
      z_[at(j)] = beta * *v_.at(upper_ + 1, j);
      half_[at(j)] = kLower;
    }
    const T first = alpha * *v_.at(upper_, upper_), last = extra_ != 0 ? beta * *v_.at(upper_ + 1, size_) : T{0};
    const T norm = std::hypot(first, last);
    if (norm > tolerance_) {
      cosine_ = first / norm;
      sine_ = last / norm;
    }
    z_[at(upper_)] = std::max(norm, tolerance_);
    half_[at(upper_)] = kBoth;
  }

  // Fills kept_, in the order of d, with the row between the parts first, and deflated_.
  void deflate() {
    kept_.push_back(upper_);
    for (const int j : sorted_) {
      if (std::abs(z_[at(j)]) <= tolerance_) {
        deflated_.push_back(j);
      } else if (kept_.size() > 1 && d_[j] - d_[kept_.back()] <= tolerance_) {
        rotate(kept_.back(), j);
        deflated_.push_back(kept_.back());
        kept_.back() = j;
      } else {
        kept_.push_back(j);
      }
    }
    double total = 0;
    for (const int j : kept_) {
      kept_d_.push_back(d_[j]);
      kept_z_.push_back(z_[at(j)]);
      squares_.push_back(kept_z_.back() * kept_z_.back());
      total += static_cast<double>(squares_.back());
    }
    total_ = static_cast<T>(total);
    if (kept_d_.size() > 1) kept_d_[1] = std::max(kept_d_[1], tolerance_ / 2);
  }

  // Takes the z of column i to column j, whose d is the same up to rounding.
  void rotate(int i, int j) {
    const T norm = std::hypot(z_[at(i)], z_[at(j)]);
    const T c = z_[at(j)] / norm, s = z_[at(i)] / norm;
    z_[at(j)] = norm;
    half_[at(i)] = half_[at(j)] = half_[at(i)] | half_[at(j)];
    for (const Columns<T>& columns : {u_, v_}) {
      T* const x = columns.column(i);
      T* const y = columns.column(j);
      for (int t = 0; t < columns.rows; ++t) {
        const T was = x[t];
        x[t] = c * was - s * y[t];
        y[t] = c * y[t] + s * was;
      }
    }
  }

  // Places kept columns with upper rows first and those with lower rows last, and the row between the parts among those
  // with both: each half is a product of neighbouring columns. Deflated columns follow.
  void arrange() {
    const auto has = [&](int half) {
      return static_cast<int>(
          std::count_if(kept_.begin() + 1, kept_.end(), [&](int j) { return half_[at(j)] == half; }));
    };
    only_upper_ = has(kUpper);
    only_lower_ = has(kLower);
    int next[] = {0, 0, static_cast<int>(kept_.size()) - only_lower_, only_upper_};
    columns_.resize(kept_.size());
    for (const int j : kept_) {
      place_.push_back(next[half_[at(j)]]++);
      columns_[at(place_.back())] = j;
    }
    columns_.insert(columns_.end(), deflated_.begin(), deflated_.end());
  }

  void gather() {
    parallel_if(size_ > kAlone, blocks(size_, kFew), [&](int64_t task) {
      const int begin = static_cast<int>(task) * kFew;
      for (int to = begin; to < std::min(begin + kFew, size_); ++to) {
        const int j = columns_[at(to)];
        if (j == upper_) {
          gather_row(to);
          continue;
        }
        const bool whole = to >= kept();
        const int first = whole || (half_[at(j)] & kUpper) != 0 ? 0 : upper_ + 1;
        const auto copy = [&](const Columns<T>& from, const Columns<T>& copied) {
          const int end = whole || (half_[at(j)] & kLower) != 0 ? from.rows : upper_ + 1;
          std::copy(from.at(first, j), from.at(end, j), copied.at(first, to));
        };
        copy(u_, u2_);
        copy(v_, v2_);
      }
    });
  }

  // The row between the parts: U has a 1 there, which `multiply` knows, and V what the parts have columns more than
  // rows.
  void gather_row(int to) {
    std::fill_n(u2_.column(to), size_, T{0});
    std::fill_n(v2_.column(to), v_.rows, T{0});
    const auto turn = [&](int begin, int end, int from, T kept_share, T null_share) {
      for (int i = begin; i < end; ++i) {
        const T x = *v_.at(i, from);
        *v2_.at(i, to) = kept_share * x;
        if (extra_ != 0) *v_.at(i, size_) = null_share * x;
      }
    };
    turn(0, upper_ + 1, upper_, cosine_, -sine_);
    if (extra_ != 0) turn(upper_ + 1, v_.rows, size_, sine_, cosine_);
  }

  // Writes the singular values to d and the row z of which they are the exact ones to `exact`.
  bool solve(T* exact) {
    const SecularEquation<T> equation{kept(), kept_d_.data(), kept_z_.data(), squares_.data(), total_};
    std::vector<T> values(half_.size());
    parallel_if(size_ > kAlone, blocks(kept(), kFew), [&](int64_t task) {
      const int begin = static_cast<int>(task) * kFew;
      for (int i = begin; i < std::min(begin + kFew, kept()); ++i) {
        values[at(i)] = secular_root(equation, i, p_.column(i));
      }
    });
    for (size_t j = kept_.size(); j < values.size(); ++j) values[j] = d_[columns_[j]];
    for (size_t j = 0; j < values.size(); ++j) {
      d_[j] = values[j] / scale_;
      if (!std::isfinite(d_[j])) return false;
    }
    constexpr int kRows = 128;
    parallel_if(size_ > kAlone, blocks(kept(), kRows), [&](int64_t task) {
      const int begin = static_cast<int>(task) * kRows;
      exact_row(equation, p_, begin, std::min(begin + kRows, kept()), exact);
    });
    return true;
  }

  // Replaces u and v. Column i of the SVD of diag(d) with the row z has vⱼ = zⱼ / (dⱼ² - σᵢ²), uⱼ = dⱼ vⱼ and, in the
  // row of z, u = -1.
  void multiply(const T* exact, const T* exact_d) {
    const int width = static_cast<int>(even_tiles(kept(), 256));
    const int64_t tiles = blocks(kept(), width);
    parallel_if(size_ > kAlone, 2 * tiles, [&](int64_t task) {
      const int begin = static_cast<int>(task / 2) * width;
      const int count = std::min(width, kept() - begin);
      const auto memory = numbers<T>(static_cast<size_t>(kept()) * static_cast<size_t>(count + 1));
      const Columns<T> vectors{memory.get(), kept(), count, kept()};
      T* const column = memory.get() + static_cast<size_t>(kept()) * static_cast<size_t>(count);
      const bool of_u = task % 2 == 0;
      for (int i = begin; i < begin + count; ++i) {
        const T* const products = p_.column(i);
        // Relative to the nearest pole, so that no square overflows.
        const T unit = std::min(std::abs(products[i]), std::abs(products[std::min(i + 1, kept() - 1)]));
        T square = kernels<T>().secular_vector(kept(), of_u ? exact_d : exact, unit, products, column);
        if (of_u) {
          column[0] = -unit;
          square += unit * unit;
        }
        const T scale = 1 / std::sqrt(square);
        T* const to = vectors.column(i - begin);
        for (int j = 0; j < kept(); ++j) to[place_[at(j)]] = scale * column[j];
      }
      if (of_u) {
        for (int i = 0; i < count; ++i) *u_.at(upper_, begin + i) = *vectors.at(only_upper_, i);
        multiply(u2_, upper_, vectors, {u_.column(begin), u_.rows, count, u_.stride});
      } else {
        multiply(v2_, upper_ + 1, vectors, {v_.column(begin), v_.rows, count, v_.stride});
      }
    });
    const int left = size_ - kept();
    parallel_if(size_ > kAlone, blocks(left, kFew), [&](int64_t task) {
      const int begin = kept() + static_cast<int>(task) * kFew;
      for (int j = begin; j < std::min(begin + kFew, size_); ++j) {
        std::copy_n(u2_.column(j), u_.rows, u_.column(j));
        std::copy_n(v2_.column(j), v_.rows, v_.column(j));
      }
    });
  }

  // to = a b in the first `upper` rows and in those from the lower part's first on.
  void multiply(const Columns<T>& a, int upper, const Columns<T>& b, const Columns<T>& to) const {
    const auto product = [&](int first, int rows, int inner, int size) {
      gemm_by_columns(CblasNoTrans, CblasNoTrans, rows, b.columns, size, /* alpha = */ T{1}, a.at(first, inner),
                      /* lda = */ a.stride, b.at(inner, 0), /* ldb = */ b.stride, /* beta = */ T{0}, to.at(first, 0),
                      /* ldc = */ to.stride);
    };
    product(0, upper, 0, kept() - only_lower_);
    product(upper_ + 1, to.rows - upper_ - 1, only_upper_, kept() - only_upper_);
  }

  int kept() const { return static_cast<int>(kept_.size()); }
  static size_t at(int j) { return static_cast<size_t>(j); }

  int upper_, size_, extra_;
  T* d_;
  Columns<T> u_, v_, u2_, v2_, p_;
  T scale_ = 1, tolerance_ = 0;
  T cosine_ = 1, sine_ = 0;  // of the rotation that joins the parts' columns without a row
  std::vector<int> half_;    // of each column
  std::vector<T> z_;
  std::vector<int> sorted_, kept_, deflated_;  // columns
  std::vector<T> kept_d_, kept_z_, squares_;
  T total_ = 0;
  int only_upper_ = 0, only_lower_ = 0;  // kept columns
  std::vector<int> place_;               // of each kept column
  std::vector<int> columns_;             // at each place
};

}  // namespace

template <class T>
bool merge(const Halves<T>& halves) {
  return Merge<T>(halves).run();
}

template bool merge<float>(const Halves<float>&);
template bool merge<double>(const Halves<double>&);

}  // namespace sigma::cpu
