#include "cpu/svd/secular.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/runtime/simd.h"

namespace sigma::cpu {
namespace {

// The terms of the poles up to the one left of the root, and of the others, with their derivatives by σ². At the last
// root the last pole takes the place of the others.
template <class T>
struct Terms {
  T below, below_slope, above, above_slope;
  T value() const { return 1 + below + above; }
  // A bound of the rounding of value(), in practice.
  T rounding() const { return 4 * std::numeric_limits<T>::epsilon() * (1 + std::abs(below) + std::abs(above)); }
};

// σ is counted from a pole, so that its distance to that pole has full relative accuracy.
template <class T>
class Root {
 public:
  Root(const SecularEquation<T>& equation, int i)
      : e_(equation), last_(i + 1 == e_.count), left_(last_ ? i - 1 : i), pole_(e_.d[i]),
        far_(last_ ? beyond_all() : e_.d[i + 1] - pole_), offset_(far_ / 2), terms_(evaluate()) {
    if (last_) return;
    const bool in_left_half = terms_.value() >= 0;
    far_ /= 2;
    if (!in_left_half) {
      pole_ = e_.d[i + 1];
      sign_ = -1;
      offset_ = -far_;
    }
    try_step(first_step(in_left_half), T{0});
  }

  bool solve() {
    constexpr int kMost = 200;
    for (int turn = 0; turn < kMost; ++turn) {
      const T value = terms_.value();
      if (std::abs(value) <= terms_.rounding()) return true;
      const T at = sign_ * offset_;
      // f increases with σ.
      ((value < 0) == (sign_ > 0) ? near_ : far_) = at;
      const T before = offset_;
      try_step(step(value), before);
      if (std::abs(offset_ - before) <= std::numeric_limits<T>::epsilon() * std::abs(before)) return true;
    }
    return false;
  }

  T sigma() const { return pole_ + offset_; }
  T pole() const { return pole_; }
  T offset() const { return offset_; }

 private:
  // σ² of the last root is at most d² + Σ zⱼ², which rounding may have made a little smaller.
  T beyond_all() const {
    const T distance = e_.total / (pole_ + std::sqrt(pole_ * pole_ + e_.total));
    return (1 + 16 * std::numeric_limits<T>::epsilon()) * distance;
  }

  Terms<T> evaluate() const {
    T sums[4];
    const int begin = left_ + 1;
    kernels<T>().secular_sums(begin, e_.d, e_.squares, pole_, offset_, sums);
    kernels<T>().secular_sums(e_.count - begin, e_.d + begin, e_.squares + begin, pole_, offset_, sums + 2);
    return {sums[0], sums[1], sums[2], sums[3]};
  }

  // Moves to σ² = base² + step, with base = pole + from, or into the middle of the bounds if that is beyond them.
  void try_step(T step, T from) {
    const T base = pole_ + from;
    const T moved = from + step / (base + std::sqrt(base * base + step));
    const T at = sign_ * moved;
    if (at > near_ && at < far_) {
      offset_ = moved;
    } else {
      offset_ = sign_ * (near_ > 0 ? std::sqrt(near_) * std::sqrt(far_) : far_ / 16);
    }
    terms_ = evaluate();
  }

  // The root x of c + s / (l - x) + t / (r - x) in quadratic form, c x² - a x + b = 0, that lies between the poles, or
  // right of them for the last root.
  T between(T a, T b, T c) const {
    const T root = std::sqrt(std::abs(a * a - 4 * b * c));
    if (last_) return a >= 0 ? (a + root) / (2 * std::abs(c)) : 2 * b / (a - root);
    return a <= 0 ? (a - root) / (2 * c) : 2 * b / (a + root);
  }

  // From the pole, with the two neighbouring poles as they are and the others constant, as in the middle.
  T first_step(bool in_left_half) const {
    const T left = e_.d[left_], right = e_.d[left_ + 1], middle = left + (right - left) / 2;
    const T s = e_.squares[left_], t = e_.squares[left_ + 1];
    const T rest = terms_.value() - s / ((left - middle) * (left + middle)) - t / ((right - middle) * (right + middle));
    const T gap = (right - left) * (right + left);
    return in_left_half ? between(rest * gap + s + t, s * gap, rest) : between(s + t - rest * gap, -t * gap, rest);
  }

  // From σ, with the two neighbouring poles at their places and weights that match value and slopes ("middle way").
  T step(T value) const {
    const auto distance = [&](int j) { return ((e_.d[j] - pole_) - offset_) * ((e_.d[j] + pole_) + offset_); };
    const T left = distance(left_), right = distance(left_ + 1);
    const T slope = terms_.below_slope + terms_.above_slope;
    const T c = value - left * terms_.below_slope - right * terms_.above_slope;
    const T found = between((left + right) * value - left * right * slope, left * right * value, c);
    return (found > 0) == (value < 0) ? found : -value / slope;
  }

  const SecularEquation<T>& e_;
  bool last_;
  int left_;    // the last pole that counts as below
  T pole_;      // σ = pole + offset
  T sign_ = 1;  // of the offset
  T near_ = 0;  // bounds of |offset|
  T far_;
  T offset_;
  Terms<T> terms_;
};

}  // namespace

template <class T>
T secular_root(const SecularEquation<T>& equation, int i, T* products) {
  if (equation.count == 1) {
    products[0] = -equation.total;
    return std::abs(equation.z[0]);
  }
  Root<T> root(equation, i);
  if (!root.solve()) return std::numeric_limits<T>::quiet_NaN();
  kernels<T>().secular_products(equation.count, equation.d, root.pole(), root.offset(), products);
  return root.sigma();
}

// zⱼ² = Π (dⱼ² - σᵢ²) / Π (dⱼ² - dᵢ²), up to the sign, each factor of the upper product over its neighbour in the
// lower.
template <class T>
void exact_row(const SecularEquation<T>& equation, const Columns<T>& products, int begin, int end, T* z) {
  const auto& [count, d, given, squares, total] = equation;
  std::copy(products.at(begin, count - 1), products.at(end, count - 1), z + begin);
  for (int i = 0; i + 1 < count; ++i) {
    const int middle = std::clamp(i + 1, begin, end);
    kernels<T>().secular_ratios(middle - begin, d + begin, d[i + 1], products.at(begin, i), z + begin);
    kernels<T>().secular_ratios(end - middle, d + middle, d[i], products.at(middle, i), z + middle);
  }
  for (int j = begin; j < end; ++j) z[j] = std::copysign(std::sqrt(std::abs(z[j])), given[j]);
}

template float secular_root<float>(const SecularEquation<float>&, int, float*);
template double secular_root<double>(const SecularEquation<double>&, int, double*);
template void exact_row<float>(const SecularEquation<float>&, const Columns<float>&, int, int, float*);
template void exact_row<double>(const SecularEquation<double>&, const Columns<double>&, int, int, double*);

}  // namespace sigma::cpu
