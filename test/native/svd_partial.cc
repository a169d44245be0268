// The QR of a long matrix, and the largest triples alone: what is accepted is right, and what is not is refused.
#include <array>
#include <functional>

#include "cpu/svd/bidiagonal.h"
#include "cpu/svd/gram.h"
#include "cpu/svd/krylov.h"
#include "cpu/svd/long_qr.h"
#include "cpu/svd/partial.h"
#include "cpu/svd/probe.h"
#include "harness.h"

namespace check {
namespace {

using sigma::cpu::Columns;
using sigma::cpu::LongQr;
using sigma::cpu::PaddedColumns;
using sigma::cpu::SvdProblem;

// Q [X; 0] of the QR of `numbers`, by columns; and the triangle.
template <class T>
std::array<std::vector<T>, 2> factorised(const std::vector<T>& numbers, int rows, int columns) {
  std::vector<T> a = numbers, triangle(static_cast<size_t>(columns) * static_cast<size_t>(columns));
  const LongQr<T> qr(Columns<T>{a.data(), rows, columns, rows});
  qr.copy_triangle({triangle.data(), columns, columns, columns});
  std::vector<T> again(a.size(), std::numeric_limits<T>::quiet_NaN());
  for (int j = 0; j < columns; ++j)
    std::copy_n(triangle.data() + int64_t{j} * columns, columns, again.data() + int64_t{j} * rows);
  qr.apply({again.data(), rows, columns, rows});
  return {again, triangle};
}

template <class T>
void long_qr() {
  // One panel, several, a ragged last one; one part, parts in turn, parts in parallel; a stack of several levels.
  for (const auto& [rows, columns] : std::vector<std::array<int, 2>>{
           {1, 1}, {7, 7}, {130, 129}, {400, 300}, {900, 256}, {4700, 140}, {3000, 9}, {20000, 20}, {150000, 2}}) {
    for (const bool empty : {false, true}) {
      std::vector<T> a = random_numbers<T>(int64_t{rows} * columns, 5);
      if (empty) std::fill(a.begin(), a.begin() + rows, T{0});  // a reflector that is the identity
      const auto factorise = [&] { return factorised(a, rows, columns); };
      const auto one = with_threads(1, factorise);
      expect(with_threads(3, factorise) == one, "the QR has the same bits for any number of threads");
      double worst = 0;
      for (size_t i = 0; i < a.size(); ++i) worst = std::fmax(worst, std::abs(static_cast<double>(one[0][i] - a[i])));
      expect(worst <= 100 * static_cast<double>(std::numeric_limits<T>::epsilon()) * std::sqrt(rows), "Q R = A");
    }
  }
}

template <class T>
struct Leading {
  Leading(int rows, int columns, int k, const std::function<double(int)>& spectrum)
      : a(with_spectrum<T>(rows, columns, spectrum)), u(static_cast<size_t>(rows) * k), s(static_cast<size_t>(k)),
        vt(static_cast<size_t>(k) * columns), raw{a.data(), u.data(), s.data(), vt.data(), rows, columns, k},
        accepted(sigma::cpu::svd_partial(SvdProblem<T>(raw))) {}
  double excess() const {
    return sigma::svd_excess<T>(raw.rows, raw.columns, raw.rank, sigma::cpu::svd_partial_measures(SvdProblem<T>(raw)));
  }
  // The largest error of a singular value, over the largest one.
  double off(const std::function<double(int)>& spectrum) const {
    double worst = 0;
    for (size_t j = 0; j < s.size(); ++j)
      worst = std::fmax(worst, std::abs(static_cast<double>(s[j]) - spectrum(static_cast<int>(j))));
    return worst / spectrum(0);
  }

  std::vector<T> a, u, s, vt;
  sigma_svd_problem raw;
  bool accepted;
};

template <class T>
void leading() {
  const auto power = [](int j) { return 1 / (1.0 + j); };
  const auto tied = [](int j) { return j < 100 ? 3.0 : std::pow(0.9, j - 100); };
  const auto same = [](int) { return 0.5; };
  const auto low_rank = [](int j) { return j < 5 ? 1.0 - 0.1 * j : 0.0; };
  const double limit = 2 * sigma::SvdLimits<T>::residual;
  for (const auto& [rows, columns, k] :
       std::vector<std::array<int, 3>>{{600, 600, 20}, {900, 520, 12}, {520, 900, 12}, {512, 512, 1}, {301, 259, 7}}) {
    for (const std::function<double(int)>& spectrum :
         {std::function<double(int)>(power), std::function<double(int)>(low_rank)}) {
      const Leading<T> found(rows, columns, k, spectrum);
      expect(found.accepted, "the largest triples alone are accepted");
      expect(found.excess() <= 1, "their residuals and orthogonality are within the limits");
      expect(found.off(spectrum) <= limit, "their singular values are right");
    }
    // Far above a flat rest.
    const auto spikes = [k = k](int j) { return j < k ? 5.0 : 1.0; };
    const Leading<T> above(rows, columns, k, spikes);
    expect(above.accepted && above.excess() <= 1 && above.off(spikes) <= limit, "spikes above a flat spectrum");
    // More copies of a singular value than starting vectors: either all of them, or a refusal.
    for (const std::function<double(int)>& spectrum :
         {std::function<double(int)>(tied), std::function<double(int)>(same)}) {
      const Leading<T> found(rows, columns, k, spectrum);
      expect(!found.accepted || (found.excess() <= 1 && found.off(spectrum) <= limit), "no copy is missed");
    }
  }
  // Fourth powers of these singular values overflow, or underflow.
  for (const double size : sizeof(T) == 4 ? std::array{1e14, 1e-14} : std::array{1e120, 1e-120}) {
    const auto sized = [&](int j) { return size * power(j); };
    const Leading<T> found(520, 400, 12, sized);
    expect(found.accepted && found.excess() <= 1 && found.off(sized) <= limit, "very large and very small numbers");
  }

  const auto ratio = [](const std::function<double(int)>& spectrum) {
    const auto matrix = with_spectrum<T>(600, 400, spectrum);
    return sigma::cpu::participation_ratio(SvdProblem<T>(600, 400, matrix.data(), nullptr, nullptr, nullptr));
  };
  expect(std::abs(ratio(same) / 400 - 1) < 0.1, "equal singular values all take part");
  expect(std::abs(ratio([](int j) { return j < 40 ? 1e-30 : 0.0; }) / 40 - 1) < 0.5, "a tenth of them");
  expect(ratio([](int j) { return j < 1 ? 1e30 : 1.0; }) < 6, "one of them");
  const auto flat = random_numbers<T>(400 * 400, 3);
  std::vector<T> u(400 * 50), s(50), vt(50 * 400);
  const sigma_svd_problem raw{flat.data(), u.data(), s.data(), vt.data(), 400, 400, 50};
  expect(!sigma::cpu::svd_partial(SvdProblem<T>(raw)), "a flat spectrum is refused");
  std::vector<T> squares(400 * 400);
  const Columns<T> g{squares.data(), 400, 400, 400};
  sigma::cpu::gram({const_cast<T*>(flat.data()), 400, 400, 400}, g);
  expect(!sigma::cpu::largest_eigenvectors(sigma::cpu::SymmetricBlocks<T>(g), 400, 50, 1e-6),
         "a flat spectrum would need too many dimensions");
  const std::vector<T> zeros(400 * 400);
  const sigma_svd_problem nothing{zeros.data(), u.data(), s.data(), vt.data(), 400, 400, 50};
  expect(!sigma::cpu::svd_partial(SvdProblem<T>(nothing)), "zeros are refused");

  const auto find = [&] { return Leading<T>(520, 900, 12, power); };
  const Leading<T> one = with_threads(1, find), three = with_threads(3, find);
  expect(one.u == three.u && one.s == three.s && one.vt == three.vt, "the same bits for any number of threads");
}

template <class T>
void norm_bound() {
  const auto spectrum = [](int j) { return j == 0 ? 2.0 : 1.0; };
  for (const auto& [rows, columns] :
       std::vector<std::array<int, 2>>{{1, 1}, {300, 300}, {700, 260}, {260, 700}, {3, 400}}) {
    auto a = with_spectrum<T>(rows, columns, spectrum);
    const Columns<T> e{a.data(), columns, rows, columns};
    const double margin = sizeof(T) == 4 ? 1e-5 : 1e-13;
    expect(sigma::cpu::norm_is_below(e, static_cast<T>(2 * (1 + margin))), "a norm below the bound");
    expect(!sigma::cpu::norm_is_below(e, static_cast<T>(2 * (1 - margin))), "a norm above the bound");
    a[0] = std::numeric_limits<T>::quiet_NaN();
    expect(!sigma::cpu::norm_is_below(e, T{10}), "a NaN is not below");
  }
}

// The largest value beyond given triples decides, also if one of them is a copy of what is left.
template <class T>
void gram_without_triples() {
  constexpr int kRows = 700, kColumns = 300;
  std::vector<T> a(kRows * kColumns), g(kColumns * kColumns), v(2 * kColumns);
  const Columns<T> e{a.data(), kRows, kColumns, kRows}, square{g.data(), kColumns, kColumns, kColumns};
  for (int j = 0; j < kColumns; ++j) *e.at(j + 5, j) = j < 3 ? T{2} : T{1};
  v[0] = v[kColumns + 2] = 1;
  const T s[] = {2, 2};
  const auto below = [&](int triples, double bound) {
    std::fill(g.begin(), g.end(), std::numeric_limits<T>::quiet_NaN());
    sigma::cpu::gram(e, square);
    sigma::cpu::subtract_squares({v.data(), kColumns, triples, kColumns}, s, square);
    return sigma::cpu::is_below(square, static_cast<T>(bound));
  };
  expect(!below(2, 1.9) && below(2, 2.01), "the third copy is not missed");
  *e.at(6, 1) = 1;
  expect(!below(2, 0.99) && below(2, 1.01), "both triples are taken away");
  expect(!below(1, 1.9), "a triple that is not given stays");
}

}  // namespace

void svd_partial() {
  long_qr<float>();
  long_qr<double>();
  norm_bound<float>();
  norm_bound<double>();
  gram_without_triples<float>();
  gram_without_triples<double>();
  leading<float>();
  leading<double>();
}

}  // namespace check
