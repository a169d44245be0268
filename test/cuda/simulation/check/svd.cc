#include <lapack.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "check.h"

namespace sigma::check {
namespace {

struct Shape {
  int64_t m, n;
  int64_t r() const { return std::min(m, n); }
};

// A matrix by rows, rounded to the type in which it is given.
struct Matrix {
  Shape shape;
  std::vector<double> numbers;
  double at(int64_t i, int64_t j) const { return numbers[static_cast<size_t>(i * shape.n + j)]; }
};

Matrix random_matrix(Shape shape, unsigned seed) {
  return {shape, gaussian(static_cast<size_t>(shape.m * shape.n), seed)};
}

Matrix scaled(Matrix a, double factor) {
  for (double& x : a.numbers) x *= factor;
  return a;
}

// Left and right singular vectors at random, with the given values.
Matrix with_values(Shape shape, const std::vector<double>& values, unsigned seed) {
  Matrix a{shape, std::vector<double>(static_cast<size_t>(shape.m * shape.n), 0.0)};
  for (size_t k = 0; k < values.size(); ++k) {
    const auto u = gaussian(static_cast<size_t>(shape.m), seed + 2 * static_cast<unsigned>(k));
    const auto v = gaussian(static_cast<size_t>(shape.n), seed + 2 * static_cast<unsigned>(k) + 1);
    for (int64_t i = 0; i < shape.m; ++i) {
      for (int64_t j = 0; j < shape.n; ++j) {
        a.numbers[static_cast<size_t>(i * shape.n + j)] +=
            values[k] * u[static_cast<size_t>(i)] * v[static_cast<size_t>(j)];
      }
    }
  }
  return a;
}

// Of rank 3 to the last bit.
Matrix deficient(Shape shape, unsigned seed) {
  Matrix a{shape, std::vector<double>(static_cast<size_t>(shape.m * shape.n), 0.0)};
  for (unsigned k = 0; k < 3; ++k) {
    const auto u = gaussian(static_cast<size_t>(shape.m), seed + 2 * k),
               v = gaussian(static_cast<size_t>(shape.n), seed + 2 * k + 1);
    for (int64_t i = 0; i < shape.m; ++i) {
      for (int64_t j = 0; j < shape.n; ++j) {
        a.numbers[static_cast<size_t>(i * shape.n + j)] +=
            std::round(4 * u[static_cast<size_t>(i)]) * std::round(4 * v[static_cast<size_t>(j)]);
      }
    }
  }
  return a;
}

// A column whose largest entries are equal; the first of them is negative.
Matrix with_equals() {
  Matrix a{{12, 1}, std::vector<double>(12, 0.125)};
  a.numbers[1] = -1;
  a.numbers[8] = 1;
  return a;
}

std::vector<double> geometric(int64_t count, double condition) {
  std::vector<double> values;
  for (int64_t k = 0; k < count; ++k) {
    values.push_back(
        std::pow(condition, -static_cast<double>(k) / static_cast<double>(std::max<int64_t>(count - 1, 1))));
  }
  return values;
}

std::vector<double> reference_values(const Matrix& a) {
  std::vector<double> copy = a.numbers, s(static_cast<size_t>(a.shape.r()));
  const int rows = static_cast<int>(a.shape.n), columns = static_cast<int>(a.shape.m), one = 1;
  double query = 0, none = 0;
  int length = -1, info = 0;
  LAPACK_dgesvd("N", "N", &rows, &columns, copy.data(), &rows, s.data(), &none, &one, &none, &one, &query, &length,
                &info);
  length = static_cast<int>(query);
  std::vector<double> work(static_cast<size_t>(length));
  LAPACK_dgesvd("N", "N", &rows, &columns, copy.data(), &rows, s.data(), &none, &one, &none, &one, work.data(), &length,
                &info);
  return s;
}

// One problem on the device.
template <class T>
struct Problem {
  Problem(sigma_context* context, const Matrix& given)
      : a(given), piece_a(context, narrowed()), u(context, size(a.shape.m, a.shape.r())),
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
  sigma_svd_problem described() const { return {piece_a.data(), u.data(), s.data(), vt.data(), a.shape.m, a.shape.n}; }

  Matrix a;
  Piece piece_a, u, s, vt;
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
    expect(value >= 0 && (j == 0 || value <= static_cast<double>(s[static_cast<size_t>(j - 1)])), what + ": s falls");
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
    int64_t row = 0;
    for (int64_t i = 1; i < m; ++i) {
      if (std::abs(at(u, i, j, r)) > std::abs(at(u, row, j, r))) row = i;
    }
    expect(at(u, row, j, r) > 0, what + ": the sign of column " + std::to_string(j));
  }
}

template <class T>
constexpr sigma_dtype kDtype = sizeof(T) == sizeof(float) ? SIGMA_FLOAT32 : SIGMA_FLOAT64;

const char* driver_name(sigma_svd_driver driver) {
  constexpr const char* kNames[] = {"auto", "gesdd", "gesvd", "gesvdj", "gesvdp", "gram64"};
  return kNames[driver];
}

template <class T>
void check_stack(sigma_context* context, sigma_svd_driver driver, const std::vector<Matrix>& matrices,
                 const std::string& what) {
  std::vector<Problem<T>> problems;
  std::vector<sigma_svd_problem> described;
  for (const Matrix& a : matrices) {
    problems.emplace_back(context, a);
    described.push_back(problems.back().described());
  }
  int64_t failed = -1;
  const std::string name = what + " by " + driver_name(driver) + (sizeof(T) == 4 ? " in float32" : " in float64");
  const sigma_status status =
      backend->svd(context, kDtype<T>, driver, described.data(), static_cast<int64_t>(described.size()), &failed);
  expect_ok(status, name);
  if (status != SIGMA_OK) return;
  for (size_t i = 0; i < problems.size(); ++i) {
    const Shape shape = matrices[i].shape;
    check_answer(problems[i],
                 name + ", " + std::to_string(shape.m) + "x" + std::to_string(shape.n) + " at " + std::to_string(i));
  }
}

std::vector<Matrix> shapes() {
  std::vector<Matrix> all;
  unsigned seed = 100;
  for (const Shape shape : {Shape{1, 1},
                            {1, 7},
                            {9, 1},
                            {5, 5},
                            {32, 32},
                            {32, 9},
                            {7, 30},
                            {33, 33},
                            {70, 40},
                            {40, 70},
                            {65, 64},
                            {1, 50},
                            {120, 1},
                            {3, 100}}) {
    all.push_back(random_matrix(shape, seed++));
  }
  return all;
}

std::vector<Matrix> hard(double tiny, double huge) {
  const Shape tall{50, 40}, wide{40, 60}, small{12, 12};
  return {with_values(tall, geometric(17, 10), 1),  // rank 17
          with_values(wide, geometric(40, 1e6), 200),
          with_values(tall, geometric(40, 1e12), 300),
          with_values(small, {3.0}, 400),
          deficient(tall, 500),
          deficient(wide, 510),
          deficient(small, 520),
          with_equals(),
          scaled(random_matrix(tall, 2), 0.0),
          scaled(random_matrix(small, 2), 0.0),
          scaled(random_matrix(wide, 3), tiny),
          scaled(random_matrix(wide, 4), huge),
          scaled(random_matrix(small, 5), tiny),
          scaled(random_matrix(small, 6), huge)};
}

template <class T>
void check_drivers(sigma_context* context, const std::vector<sigma_svd_driver>& drivers, double tiny, double huge) {
  for (const sigma_svd_driver driver : drivers) {
    check_stack<T>(context, driver, shapes(), "ragged");
    check_stack<T>(context, driver, hard(tiny, huge), "hard");
    check_stack<T>(context, driver, {random_matrix({48, 48}, 7)}, "one");
    std::vector<Matrix> same;
    for (unsigned i = 0; i < 9; ++i) same.push_back(random_matrix({36, 34}, 50 + i));
    check_stack<T>(context, driver, same, "stack");
  }
}

void check_bad_input(sigma_context* context) {
  Matrix bad = random_matrix({40, 50}, 9);
  bad.numbers[3 * 50 + 7] = std::numeric_limits<double>::quiet_NaN();
  bad.numbers[30 * 50 + 7] = std::numeric_limits<double>::infinity();
  const Problem<float> good(context, random_matrix({40, 50}, 10)), worse(context, bad);
  const sigma_svd_problem problems[] = {good.described(), worse.described()};
  int64_t failed = -1;
  expect_failure(backend->svd(context, SIGMA_FLOAT32, SIGMA_SVD_AUTO, problems, 2, &failed), SIGMA_NON_FINITE,
                 "expected finite numbers, got NaN at row 3, column 7", "a matrix with NaN");
  expect(failed == 1, "the matrix with NaN is named");
  expect_failure(backend->svd(context, SIGMA_FLOAT32, SIGMA_SVD_GESDD, problems, 1, &failed), SIGMA_UNSUPPORTED,
                 "expected 'auto', 'gesvdj', 'gesvdp', 'gesvd' or 'gram64', which CUDA has", "gesdd");
  expect_failure(backend->svd(context, SIGMA_FLOAT64, SIGMA_SVD_GRAM64, problems, 1, &failed), SIGMA_UNSUPPORTED,
                 "gram64", "gram64 in float64");
  expect_failure(backend->svd(context, SIGMA_BFLOAT16, SIGMA_SVD_AUTO, problems, 1, &failed), SIGMA_UNSUPPORTED,
                 "float32 or float64", "bfloat16");
}

// A library that fails: the chain goes on to the next routine, and says so when there is none.
void check_chain(sigma_context* context) {
  const std::vector<Matrix> some = {random_matrix({60, 40}, 11), random_matrix({12, 9}, 12),
                                    random_matrix({60, 40}, 13), deficient({60, 40}, 14), deficient({12, 9}, 15)};
  for (const char* const fail :
       {"syevd", "syevd:status", "syevd:wrong", "orgqr:wrong", "geqrf:status", "gesvdj", "gesvdj:wrong",
        "gesvdj:status", "syevd,gesvdp", "syevd:wrong,gesvdj:wrong,gesvdp:wrong", "gesvdp:status,syevd",
        "gesvdj:swapped", "gesvdj:skewed", "gesvdj:nan", "syevd,gesvdp:swapped", "syevd,gesvdp:skewed",
        "syevd,gesvdp:nan"}) {
    const Setting planted("SIGMA_SIMULATED_FAIL", fail);
    check_stack<float>(context, SIGMA_SVD_AUTO, some, std::string("with a failing ") + fail);
  }
  for (const char* const fail :
       {"gesvdp", "gesvdp:wrong", "gesvdp:status", "gesvdj,gesvdp", "gesvdp:skewed", "gesvdp:swapped", "gesvdp:nan"}) {
    const Setting planted("SIGMA_SIMULATED_FAIL", fail);
    check_stack<double>(context, SIGMA_SVD_AUTO, some, std::string("with a failing ") + fail);
  }
  const Problem<float> p(context, random_matrix({60, 40}, 11));
  const sigma_svd_problem problem = p.described();
  int64_t failed = -1;
  {
    const Setting planted("SIGMA_SIMULATED_FAIL", "syevd,gesvdp:wrong,gesvd");
    expect_failure(backend->svd(context, SIGMA_FLOAT32, SIGMA_SVD_AUTO, &problem, 1, &failed), SIGMA_NOT_CONVERGED,
                   "no routine found", "a chain that fails");
    expect(failed == 0, "the problem without an answer is named");
  }
  {
    const Setting planted("SIGMA_SIMULATED_FAIL", "gesvdp:status");
    expect_failure(backend->svd(context, SIGMA_FLOAT32, SIGMA_SVD_GESVDP, &problem, 1, &failed), SIGMA_NATIVE,
                   "gesvdp: cuSOLVER failed with status 7", "a routine that fails");
  }
  {
    const Setting planted("SIGMA_SIMULATED_FAIL", "gesvdp:memory");
    expect_failure(backend->svd(context, SIGMA_FLOAT32, SIGMA_SVD_GESVDP, &problem, 1, &failed), SIGMA_OUT_OF_MEMORY,
                   "gesvdp: cuSOLVER found too little memory", "a routine without memory");
  }
  check_stack<float>(context, SIGMA_SVD_AUTO, some, "after failures");
}

// Memory for one problem at a time, but not for four, and then for none.
void check_memory_limits(sigma_context* context) {
  std::vector<Matrix> many;
  for (unsigned i = 0; i < 8; ++i) many.push_back(random_matrix({200, 200}, 70 + i));
  {
    // A matrix of 200 x 200 takes 160 kB. Each problem holds four; one that is being solved about as many again.
    const Setting limit("SIGMA_SIMULATED_MEMORY", std::to_string(8 * 4 * 160000 + 1000000));
    check_stack<float>(context, SIGMA_SVD_GESVD, many, "with little memory");
  }
  const Problem<float> p(context, many[0]);
  const sigma_svd_problem problem = p.described();
  int64_t failed = -1;
  {
    const Setting limit("SIGMA_SIMULATED_MEMORY", std::to_string(4 * 160000 + 100000));
    expect_failure(backend->svd(context, SIGMA_FLOAT32, SIGMA_SVD_AUTO, &problem, 1, &failed), SIGMA_OUT_OF_MEMORY,
                   "no memory left", "an SVD without memory");
  }
  check_stack<float>(context, SIGMA_SVD_AUTO, {many[0]}, "after too little memory");
}

}  // namespace

void check_svd() {
  const Context context;
  check_drivers<float>(context, {SIGMA_SVD_AUTO, SIGMA_SVD_GESVD, SIGMA_SVD_GESVDJ, SIGMA_SVD_GESVDP, SIGMA_SVD_GRAM64},
                       1e-41, 1e36);
  check_drivers<double>(context, {SIGMA_SVD_AUTO, SIGMA_SVD_GESVD, SIGMA_SVD_GESVDJ, SIGMA_SVD_GESVDP}, 1e-300, 1e300);
  {
    const Setting slow("SIGMA_SIMULATED_FLOAT_TO_DOUBLE", "64");
    const Context consumer_card;
    check_drivers<float>(consumer_card, {SIGMA_SVD_AUTO}, 1e-41, 1e36);
  }
  check_bad_input(context);
  check_chain(context);
  check_memory_limits(context);
}

}  // namespace sigma::check
