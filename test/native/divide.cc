// divide_and_conquer: B = U diag(s) Vᵀ with orthonormal U and V, and s in descending order.
#include "cpu/svd/divide.h"

#include <limits>

#include "harness.h"

namespace check {
namespace {

using sigma::cpu::Columns;

template <class T>
struct Solved {
  Solved(std::vector<T> d, std::vector<T> e) : n(static_cast<int>(d.size())), u(d.size() * d.size()), vt(u.size()) {
    e.resize(d.size() - 1);
    e.shrink_to_fit();  // a sanitizer sees a read beyond it
    std::vector<T> wide(d.size() * (d.size() + 3));
    solved = sigma::cpu::divide_and_conquer(d.data(), e.data(), Columns<T>{wide.data(), n, n, n + 3},
                                            Columns<T>{vt.data(), n, n, n});
    for (size_t j = 0; j < d.size(); ++j) std::copy_n(&wide[j * (d.size() + 3)], d.size(), &u[j * d.size()]);
    s = std::move(d);
  }
  int n;
  bool solved;
  std::vector<T> s, u, vt;
};

// The largest row sum of AᵀA - 1 or A Aᵀ - 1, a bound of its norm.
template <class T>
double from_orthonormal(const std::vector<T>& a, int n, bool by_rows) {
  const std::vector<double> gram = from_identity(a, n, n, by_rows);
  double worst = 0;
  for (int i = 0; i < n; ++i) {
    double sum = 0;
    for (int j = 0; j < n; ++j)
      sum += std::abs(gram[static_cast<size_t>(i) * static_cast<size_t>(n) + static_cast<size_t>(j)]);
    keep_worse(worst, sum);
  }
  return worst;
}

template <class T>
void solves(const std::vector<T>& d, const std::vector<T>& e, const char* what) {
  const Solved<T> got(d, e);
  expect(got.solved, what);
  const auto n = static_cast<size_t>(got.n);
  const double epsilon = static_cast<double>(std::numeric_limits<T>::epsilon());
  // By columns, so u[j n + i] is U (i, j).
  double largest = 0, off = 0;
  for (size_t j = 0; j < n; ++j) {
    keep_worse(largest, static_cast<double>(d[j]));
    if (j > 0) keep_worse(largest, static_cast<double>(e[j - 1]));
    expect(got.s[j] >= 0 && (j == 0 || got.s[j] <= got.s[j - 1]), what);
  }
  for (size_t i = 0; i < n; ++i) {
    double norm = 0;
    for (size_t j = 0; j < n; ++j) {
      double sum = j == i ? -static_cast<double>(d[i]) : j == i + 1 ? -static_cast<double>(e[i]) : 0;
      for (size_t k = 0; k < n; ++k) {
        sum += static_cast<double>(got.u[k * n + i]) * static_cast<double>(got.s[k]) *
               static_cast<double>(got.vt[j * n + k]);
      }
      norm = std::hypot(norm, sum);
    }
    keep_worse(off, norm);
  }
  const double bound = 16 * std::sqrt(static_cast<double>(n)) * epsilon;
  // Subnormal values are rounded to whole steps.
  const double steps = static_cast<double>(n) * static_cast<double>(std::numeric_limits<T>::denorm_min());
  expect(off <= bound * largest + steps, what);
  expect(from_orthonormal(got.u, got.n, false) <= 4 * bound, what);
  expect(from_orthonormal(got.vt, got.n, true) <= 4 * bound, what);
}

template <class T>
void families(int n) {
  const auto size = static_cast<size_t>(n);
  const auto d = random_numbers<T>(n, 5), e = random_numbers<T>(n, 6);
  solves(d, e, "random");
  // The bidiagonal of a Gaussian matrix.
  auto falling = d, small = e;
  for (size_t i = 0; i < size; ++i) {
    falling[i] = static_cast<T>(std::sqrt(static_cast<double>(size - i)));
    small[i] = static_cast<T>(std::sqrt(static_cast<double>(size - i - 1)));
  }
  solves(falling, small, "as of a Gaussian matrix");
  auto graded = d, graded_e = e;
  for (size_t i = 0; i < size; ++i) {
    graded[i] = static_cast<T>(std::ldexp(static_cast<double>(d[i]), -static_cast<int>(i) / 2));
    graded_e[i] = static_cast<T>(std::ldexp(static_cast<double>(e[i]), -static_cast<int>(i) / 2));
  }
  solves(graded, graded_e, "graded");
  std::reverse(graded.begin(), graded.end());
  std::reverse(graded_e.begin(), graded_e.end());
  solves(graded, graded_e, "graded upwards");
  const std::vector<T> ones(size, 1), zeros(size), tiny(size, static_cast<T>(1e-9));
  solves(ones, zeros, "the identity");
  solves(ones, ones, "ones");
  solves(ones, tiny, "nearly the identity");
  solves(zeros, zeros, "zeros");
  solves(zeros, ones, "a zero diagonal");
  solves(zeros, e, "a zero diagonal, random above");
  auto holes = d, holes_e = e;
  for (size_t i = 0; i < size; i += 3) holes[i] = 0;
  for (size_t i = 0; i < size; i += 7) holes_e[i] = 0;
  solves(holes, holes_e, "zeros in both diagonals");
  auto close = ones;
  for (size_t i = 0; i < size; ++i) close[i] += static_cast<T>(i) * std::numeric_limits<T>::epsilon();
  solves(close, tiny, "neighbouring numbers");
  auto weak = e;
  for (T& x : weak) x *= static_cast<T>(1e-4);
  solves(d, weak, "weakly coupled");
  auto low = d, low_e = e;
  for (size_t i = size / 4; i < size; ++i) low[i] = low_e[i] = 0;
  solves(low, low_e, "a low rank");
  auto minute = d, minute_e = e;
  for (T& x : minute) x *= static_cast<T>(sizeof(T) == 4 ? 1e-30 : 1e-290);
  for (T& x : minute_e) x *= static_cast<T>(sizeof(T) == 4 ? 1e-30 : 1e-290);
  solves(minute, minute_e, "tiny numbers");
  const T subnormal = static_cast<T>(sizeof(T) == 4 ? 1e-41 : 1e-311);
  auto faint = d, faint_e = e;
  for (size_t i = size / 2; i < size; ++i) faint[i] = faint_e[i] = subnormal;
  solves(faint, faint_e, "half of it subnormal");
  std::reverse(faint.begin(), faint.end());
  solves(faint, faint_e, "half of the diagonal subnormal");
  solves(std::vector<T>(size, subnormal), std::vector<T>(size, subnormal), "subnormal");
  auto huge = d, huge_e = e;
  for (T& x : huge) x *= static_cast<T>(sizeof(T) == 4 ? 1e36 : 1e300);
  for (T& x : huge_e) x *= static_cast<T>(sizeof(T) == 4 ? 1e36 : 1e300);
  solves(huge, huge_e, "huge numbers");
}

// The same bits for 1 and 3 threads.
template <class T>
void repeats(int n) {
  const auto d = random_numbers<T>(n, 1), e = random_numbers<T>(n, 2);
  const auto solve = [&] { return Solved<T>(d, e); };
  const Solved<T> one = with_threads(1, solve), three = with_threads(3, solve);
  expect(one.s == three.s && one.u == three.u && one.vt == three.vt, "the same bits for any number of threads");
}

template <class T>
void refuses() {
  std::vector<T> d(60, 1), e(60, 1);
  for (const size_t at : {size_t{0}, size_t{30}, size_t{31}}) {  // 30 is the row between the largest parts
    d[at] = std::numeric_limits<T>::quiet_NaN();
    expect(!Solved<T>(d, e).solved, "a NaN does not converge");
    d[at] = 1;
  }
  e[5] = std::numeric_limits<T>::infinity();
  expect(!Solved<T>(d, e).solved, "an infinity does not converge");
}

template <class T>
void all() {
  for (const int n : {1, 2, 11, 12, 13, 14, 25, 26, 27, 50, 75, 200, 257}) families<T>(n);
  solves(random_numbers<T>(530, 3), random_numbers<T>(530, 4), "parts that all threads share");
  repeats<T>(60);
  repeats<T>(700);
  refuses<T>();
}

}  // namespace

void divide() {
  all<float>();
  all<double>();
}

}  // namespace check
