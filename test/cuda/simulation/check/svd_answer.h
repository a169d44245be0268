// Checks an SVD: singular values against LAPACK in float64, and the definition of an SVD.
#pragma once

#include <lapack.h>

#include <algorithm>
#include <limits>

#include "contract/svd_limits.h"
#include "matrices.h"

namespace sigma::check {

inline std::vector<double> reference_values(const Matrix& a) {
  std::vector<double> copy = a.numbers, s(static_cast<size_t>(a.shape.r()));
  const int rows = static_cast<int>(a.shape.n), columns = static_cast<int>(a.shape.m), one = 1;
  double query = 0, none = 0;
  int length = -1, info = 0;
  LAPACK_dgesvd(/* jobu = */ "N", /* jobvt = */ "N", &rows, &columns, copy.data(), /* lda = */ &rows, s.data(), &none,
                /* ldu = */ &one, &none, /* ldvt = */ &one, &query, &length, &info);
  length = static_cast<int>(query);
  std::vector<double> work(static_cast<size_t>(length));
  LAPACK_dgesvd(/* jobu = */ "N", /* jobvt = */ "N", &rows, &columns, copy.data(), /* lda = */ &rows, s.data(), &none,
                /* ldu = */ &one, &none, /* ldvt = */ &one, work.data(), &length, &info);
  return s;
}

// A problem in device memory.
template <class T>
struct Problem {
  Problem(sigma_context* context, const Matrix& given)
      : a(given), a_buffer(context, narrowed()), u(context, size(a.shape.m, a.shape.r())),
        s(context, size(1, a.shape.r())), vt(context, size(a.shape.r(), a.shape.n)) {}
  static size_t size(int64_t rows, int64_t columns) { return static_cast<size_t>(rows * columns) * sizeof(T); }
  std::vector<T> narrowed() {
    std::vector<T> values;
    for (double& x : a.numbers) {
      values.push_back(static_cast<T>(x));
      x = static_cast<double>(values.back());
    }
    return values;
  }
  sigma_svd_problem described() const {
    const int64_t rank = std::min(a.shape.m, a.shape.n);
    return {a_buffer.data(), u.data(), s.data(), vt.data(), a.shape.m, a.shape.n, rank};
  }

  Matrix a;
  DeviceBuffer a_buffer, u, s, vt;
};

template <class T>
void check_answer(const Problem<T>& p, const std::string& what) {
  const int64_t m = p.a.shape.m, n = p.a.shape.n, r = p.a.shape.r();
  const auto u = p.u.template values<T>(static_cast<size_t>(m * r));
  const auto s = p.s.template values<T>(static_cast<size_t>(r));
  const auto vt = p.vt.template values<T>(static_cast<size_t>(r * n));
  const auto at = [](const std::vector<T>& x, int64_t i, int64_t j, int64_t columns) {
    return static_cast<double>(x[static_cast<size_t>(i * columns + j)]);
  };
  const bool narrow = sizeof(T) == sizeof(float);
  const double values_limit = narrow ? 2e-6 : 1e-13, vectors_limit = narrow ? 1e-5 : 1e-12;
  double largest = 0;
  for (const double x : p.a.numbers) largest = std::fmax(largest, std::abs(x));
  const double unit = largest > 0 ? std::ldexp(1.0, std::clamp(-std::ilogb(largest), -1000, 1000)) : 1;
  Matrix near_one = p.a;
  for (double& x : near_one.numbers) x *= unit;
  const std::vector<double> wanted = reference_values(near_one);
  const double least = static_cast<double>(std::numeric_limits<T>::denorm_min()) * unit;
  const double scale = std::fmax(wanted[0], 1e-300);
  for (int64_t j = 0; j < r; ++j) {
    const double value = static_cast<double>(s[static_cast<size_t>(j)]);
    expect(value >= 0 && (j == 0 || value <= static_cast<double>(s[static_cast<size_t>(j - 1)])),
           what + ": s is descending");
    expect(std::abs(value * unit - wanted[static_cast<size_t>(j)]) <= values_limit * scale + least,
           what + ": s[" + std::to_string(j) + "] is " + std::to_string(value * unit) + ", wanted " +
               std::to_string(wanted[static_cast<size_t>(j)]));
  }
  double residual = 0, size = 0, u_off = 0, vt_off = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = -near_one.at(i, j);
      for (int64_t k = 0; k < r; ++k)
        sum += at(u, i, k, r) * static_cast<double>(s[static_cast<size_t>(k)]) * unit * at(vt, k, j, n);
      residual += sum * sum;
      size += near_one.at(i, j) * near_one.at(i, j);
    }
  }
  for (int64_t j = 0; j < r; ++j) {
    for (int64_t k = 0; k < r; ++k) {
      double left = j == k ? -1 : 0, right = left;
      for (int64_t i = 0; i < m; ++i) left += at(u, i, j, r) * at(u, i, k, r);
      for (int64_t i = 0; i < n; ++i) right += at(vt, j, i, n) * at(vt, k, i, n);
      u_off = std::fmax(u_off, std::abs(left));
      vt_off = std::fmax(vt_off, std::abs(right));
    }
  }
  const double blur = 8 * least * std::sqrt(static_cast<double>(m)) * static_cast<double>(n);
  expect(std::sqrt(residual) <= (narrow ? 5e-6 : 1e-12) * std::sqrt(size) + blur,
         what + ": residual " + std::to_string(std::sqrt(residual / std::fmax(size, 1e-300)) * 1e6) + "e-6");
  expect(u_off <= vectors_limit, what + ": U off by " + std::to_string(u_off * 1e6) + "e-6");
  expect(vt_off <= vectors_limit, what + ": Vt off by " + std::to_string(vt_off * 1e6) + "e-6");
  for (int64_t j = 0; j < r; ++j) {
    double most = 0;
    for (int64_t i = 0; i < m; ++i) most = std::fmax(most, std::abs(at(u, i, j, r)));
    int64_t row = 0;
    while (row < m - 1 && std::abs(at(u, row, j, r)) < most * kSvdTie) ++row;
    expect(at(u, row, j, r) > 0, what + ": the sign of column " + std::to_string(j));
  }
}

}  // namespace sigma::check
