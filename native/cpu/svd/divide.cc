#include "cpu/svd/divide.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "cpu/runtime/pool.h"
#include "cpu/svd/bidiagonal.h"
#include "cpu/svd/lapack.h"
#include "cpu/svd/merge.h"
#include "cpu/svd/problem.h"

namespace sigma::cpu {
namespace {

// The largest part that is not divided.
constexpr int kLeaf = 12;

// Rows first … first + size - 1 of B, and as many columns and `extra`: every part but the last has one column more than
// rows. A part of more than kLeaf rows is a row between two parts, `upper` and then a lower one.
struct Part {
  int first, size, extra;
  int upper;  // rows of the upper part
};

template <class T>
class Division {
 public:
  // `u2` and `v2` (n, n) are scratch.
  Division(int n, T* d, T* e, const Columns<T>& u2, const Columns<T>& v2)
      : d_(d), e_(e), order_(static_cast<size_t>(n)), u_memory_(n, n), v_memory_(n, n), p_memory_(n, n),
        u_(u_memory_.view()), v_(v_memory_.view()), p_(p_memory_.view()), u2_(u2), v2_(v2) {
    divide({0, n, 0, 0}, 0);
  }

  bool run() {
    parallel_for(u_.columns, [&](int64_t task) {
      const int j = static_cast<int>(task);
      std::fill_n(u_.column(j), u_.rows, T{0});
      std::fill_n(v_.column(j), v_.rows, T{0});
    });
    if (!for_parts(leaves_, [&](const Part& part) { return solve_leaf(part); })) return false;
    for (size_t level = levels_.size(); level-- > 0;) {
      if (!for_parts(levels_[level], [&](const Part& part) { return merge_parts(part); })) return false;
    }
    return true;
  }

  Columns<T> u() const { return u_; }
  Columns<T> v() const { return v_; }
  // The places of the singular values in d, in ascending order.
  const std::vector<int>& order() const { return order_; }

 private:
  void divide(const Part& part, size_t level) {
    if (part.size <= kLeaf) return leaves_.push_back(part);
    if (levels_.size() == level) levels_.emplace_back();
    const int upper = part.size / 2;
    levels_[level].push_back({part.first, part.size, part.extra, upper});
    divide({part.first, upper, 1, 0}, level + 1);
    divide({part.first + upper + 1, part.size - upper - 1, part.extra, 0}, level + 1);
  }

  template <class Body>
  static bool for_parts(const std::vector<Part>& parts, const Body& body) {
    std::vector<char> solved(parts.size());
    const auto solve = [&](int64_t index) {
      solved[static_cast<size_t>(index)] = body(parts[static_cast<size_t>(index)]);
    };
    parallel_if(parts.front().size <= kAlone, static_cast<int64_t>(parts.size()), solve);
    return std::all_of(solved.begin(), solved.end(), [](char is) { return is != 0; });
  }

  // The block of a part in a matrix of all columns.
  static Columns<T> block(const Columns<T>& whole, const Part& part, int size) {
    return {whole.at(part.first, part.first), size, size, whole.stride};
  }

  void sort(const Part& part) {
    int* const order = order_.data() + part.first;
    const T* const d = d_ + part.first;
    for (int j = 0; j < part.size; ++j) order[j] = j;
    std::sort(order, order + part.size, [d](int i, int j) { return d[i] < d[j] || (d[i] == d[j] && i < j); });
  }

  // By QR iteration.
  bool solve_leaf(const Part& part) {
    const int n = part.size, columns = n + part.extra;
    T* const d = d_ + part.first;
    T* const e = e_ + part.first;
    const Columns<T> u = block(u_, part, n), v = block(v_, part, columns);
    T vt_numbers[(kLeaf + 1) * (kLeaf + 1)], work[4 * kLeaf];
    const Columns<T> vt{vt_numbers, columns, columns, columns};
    set_identity(u);
    set_identity(vt);
    // Rotations from the right make the rectangle lower bidiagonal, with a last column of zeros.
    if (part.extra != 0) {
      for (int i = 0; i < n; ++i) {
        const T norm = std::hypot(d[i], e[i]);
        // Next to the largest number of the matrix a subnormal one is 0; it has too few bits for c and s.
        const bool none = norm < std::numeric_limits<T>::min();
        const T c = none ? 1 : d[i] / norm, s = none ? 0 : e[i] / norm;
        d[i] = norm;
        for (int j = 0; j < columns; ++j) {
          const T x = *vt.at(i, j), y = *vt.at(i + 1, j);
          *vt.at(i, j) = c * x + s * y;
          *vt.at(i + 1, j) = c * y - s * x;
        }
        if (i + 1 == n) break;
        e[i] = s * d[i + 1];
        d[i + 1] *= c;
      }
    }
    const int info =
        Lapack<T>::bdsqr(part.extra != 0 ? "L" : "U", n, columns, n, d, e, vt.data, vt.stride, u.data, u.stride, work);
    for (int j = 0; j < columns; ++j) {
      for (int i = 0; i < columns; ++i) *v.at(i, j) = *vt.at(j, i);
    }
    if (info != 0 || !std::all_of(d, d + n, [](T x) { return std::isfinite(x); })) return false;
    sort(part);
    return true;
  }

  static void set_identity(const Columns<T>& to) {
    for (int j = 0; j < to.columns; ++j) {
      std::fill_n(to.column(j), to.rows, T{0});
      *to.at(j, j) = 1;
    }
  }

  bool merge_parts(const Part& part) {
    const auto [first, size, extra, upper] = part;
    const bool solved = merge(Halves<T>{upper, size, extra, d_ + first, d_[first + upper], e_[first + upper],
                                        order_.data() + first, block(u_, part, size), block(v_, part, size + extra),
                                        block(u2_, part, size), block(v2_, part, size + extra), block(p_, part, size)});
    if (solved) sort(part);
    return solved;
  }

  T* d_;
  T* e_;
  std::vector<int> order_;  // of each part, its singular values in ascending order
  PaddedColumns<T> u_memory_, v_memory_, p_memory_;
  Columns<T> u_, v_;    // of each part, in its block on the diagonal; zeros between the blocks
  Columns<T> p_;        // the products of the secular equation
  Columns<T> u2_, v2_;  // copies of u and v while they are replaced
  std::vector<Part> leaves_;
  std::vector<std::vector<Part>> levels_;
};

// Scales d (n) and e (n - 1) and returns the scale, so that a subnormal number is nothing next to the largest one.
template <class T>
T scale_up(int n, T* d, T* e) {
  const T largest =
      std::max(largest_magnitude(d, static_cast<size_t>(n)), largest_magnitude(e, static_cast<size_t>(n - 1)));
  const T scale = std::isfinite(largest) ? svd_scale(largest) : T{1};
  if (scale == 1) return scale;
  for (int j = 0; j < n; ++j) d[j] *= scale;
  for (int j = 0; j + 1 < n; ++j) e[j] *= scale;
  return scale;
}

}  // namespace

template <class T>
bool divide_and_conquer(T* d, T* e, const Columns<T>& u, const Columns<T>& vt) {
  const int n = u.columns;
  const T scale = scale_up(n, d, e);
  Division<T> division(n, d, e, u, vt);
  if (!division.run()) return false;
  const std::vector<int>& order = division.order();
  const std::vector<T> values(d, d + n);
  const auto place = [&](int j) { return order[static_cast<size_t>(n - 1 - j)]; };
  for (int j = 0; j < n; ++j) d[j] = values[static_cast<size_t>(place(j))] / scale;
  parallel_for(blocks(n, kTurned), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTurned, end = std::min(begin + kTurned, n);
    for (int j = begin; j < end; ++j) std::copy_n(division.u().column(place(j)), n, u.column(j));
    for (int top = 0; top < n; top += kTurned) {
      for (int i = top; i < std::min(top + kTurned, n); ++i) {
        for (int j = begin; j < end; ++j) *vt.at(j, i) = *division.v().at(i, place(j));
      }
    }
  });
  return true;
}

template bool divide_and_conquer<float>(float*, float*, const Columns<float>&, const Columns<float>&);
template bool divide_and_conquer<double>(double*, double*, const Columns<double>&, const Columns<double>&);

}  // namespace sigma::cpu
