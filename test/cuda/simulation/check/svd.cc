#include <algorithm>
#include <limits>

#include "svd_answer.h"

namespace sigma::check {
namespace {

template <class T>
constexpr sigma_real kReal = sizeof(T) == sizeof(float) ? SIGMA_REAL32 : SIGMA_REAL64;

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
  const auto count = static_cast<int64_t>(described.size());
  const sigma_status status = run(context, backend->svd, {kReal<T>, driver, described.data(), count, &failed});
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
  expect_failure(run(context, backend->svd, {SIGMA_REAL32, SIGMA_SVD_AUTO, problems, 2, &failed}), SIGMA_NON_FINITE,
                 "expected finite numbers, got NaN at row 3, column 7", "a matrix with NaN");
  expect(failed == 1, "`failed` is the matrix with NaN");
  expect_failure(run(context, backend->svd, {SIGMA_REAL32, SIGMA_SVD_GESDD, problems, 1, &failed}), SIGMA_UNSUPPORTED,
                 "expected 'auto', 'gesvd', 'gesvdj', 'gesvdp' or 'gram64', which CUDA has for float32", "gesdd");
  expect_failure(run(context, backend->svd, {SIGMA_REAL64, SIGMA_SVD_GRAM64, problems, 1, &failed}), SIGMA_UNSUPPORTED,
                 "expected 'auto', 'gesvd', 'gesvdj' or 'gesvdp', which CUDA has for float64", "gram64 in float64");
}

// Finite matrices whose singular values overflow: every driver reports that.
template <class T>
void check_too_large(sigma_context* context, double number, const char* text) {
  const Problem<T> p(context, {{2, 2}, {number, number, number, -number}});
  const sigma_svd_problem problem = p.described();
  int64_t failed = -1;
  for (const sigma_svd_driver driver : {SIGMA_SVD_AUTO, SIGMA_SVD_GESVD, SIGMA_SVD_GESVDJ, SIGMA_SVD_GESVDP}) {
    expect_failure(run(context, backend->svd, {kReal<T>, driver, &problem, 1, &failed}), SIGMA_NOT_CONVERGED, text,
                   std::string("large numbers by ") + driver_name(driver));
  }
}

// If a library routine fails, the chain tries the next one, and fails after the last.
void check_chain(sigma_context* context) {
  const std::vector<Matrix> some = {random_matrix({60, 40}, 11), random_matrix({12, 9}, 12),
                                    random_matrix({60, 40}, 13), deficient({60, 40}, 14), deficient({12, 9}, 15)};
  for (const char* const fail : {"syevd",
                                 "syevd:status",
                                 "syevd:wrong",
                                 "orgqr:wrong",
                                 "geqrf:status",
                                 "potrf",
                                 "potrf,geqrf:status",
                                 "potrf:status",
                                 "trsm:wrong",
                                 "trsm:status",
                                 "gesvdj",
                                 "gesvdj:wrong",
                                 "gesvdj:status",
                                 "syevd,gesvdp",
                                 "syevd:wrong,gesvdj:wrong,gesvdp:wrong",
                                 "gesvdp:status,syevd",
                                 "gesvdj:swapped",
                                 "gesvdj:skewed",
                                 "gesvdj:nan",
                                 "syevd,gesvdp:swapped",
                                 "syevd,gesvdp:skewed",
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
    expect_failure(run(context, backend->svd, {SIGMA_REAL32, SIGMA_SVD_AUTO, &problem, 1, &failed}),
                   SIGMA_NOT_CONVERGED, "no routine found", "a chain that fails");
    expect(failed == 0, "`failed` is the unsolved problem");
  }
  {
    const Setting planted("SIGMA_SIMULATED_FAIL", "gesvdp:status");
    expect_failure(run(context, backend->svd, {SIGMA_REAL32, SIGMA_SVD_GESVDP, &problem, 1, &failed}), SIGMA_NATIVE,
                   "gesvdp: cuSOLVER failed with status 7", "a routine that fails");
  }
  {
    const Setting planted("SIGMA_SIMULATED_FAIL", "gesvdp:memory");
    expect_failure(run(context, backend->svd, {SIGMA_REAL32, SIGMA_SVD_GESVDP, &problem, 1, &failed}),
                   SIGMA_OUT_OF_MEMORY, "gesvdp: cuSOLVER ran out of memory", "a routine without memory");
  }
  check_stack<float>(context, SIGMA_SVD_AUTO, some, "after failures");
}

// The Gram route takes CholeskyQR2, and Householder's QR only for what that cannot do.
void check_gram_qr(sigma_context* context) {
  const std::vector<Matrix> whole = {random_matrix({60, 40}, 21), random_matrix({40, 60}, 22),
                                     with_values({50, 40}, geometric(40, 1e3), 23)};
  {
    const Setting planted("SIGMA_SIMULATED_FAIL", "geqrf:status");
    check_stack<float>(context, SIGMA_SVD_GRAM64, whole, "without Householder's QR");
    // All columns of A V but one are rounding errors, which are parallel.
    Matrix ones = random_matrix({60, 40}, 24);
    std::fill(ones.numbers.begin(), ones.numbers.end(), 1.0);
    const Problem<float> p(context, ones);
    const sigma_svd_problem problem = p.described();
    int64_t failed = -1;
    expect_failure(run(context, backend->svd, {SIGMA_REAL32, SIGMA_SVD_GRAM64, &problem, 1, &failed}), SIGMA_NATIVE,
                   "gram64: cuSOLVER failed with status 7", "a matrix of rank one without Householder's QR");
  }
  for (const char* const fail : {"potrf", "trsm:wrong,potrf"}) {
    const Setting planted("SIGMA_SIMULATED_FAIL", fail);
    check_stack<float>(context, SIGMA_SVD_GRAM64, whole, std::string("with a failing ") + fail);
  }
}

// First enough memory for one problem at a time but not for four, then not even for one.
void check_memory_limits(sigma_context* context) {
  std::vector<Matrix> many;
  for (unsigned i = 0; i < 8; ++i) many.push_back(random_matrix({200, 200}, 70 + i));
  {
    // A matrix of 200 x 200 takes 160 kB. Each problem holds three, and a running one needs about three more.
    const Setting limit("SIGMA_SIMULATED_MEMORY", std::to_string(8 * (3 * 160000 + 800) + 800000));
    check_stack<float>(context, SIGMA_SVD_GESVD, many, "with little memory");
  }
  const Problem<float> p(context, many[0]);
  const sigma_svd_problem problem = p.described();
  int64_t failed = -1;
  {
    const Setting limit("SIGMA_SIMULATED_MEMORY", std::to_string(3 * 160000 + 100000));
    expect_failure(run(context, backend->svd, {SIGMA_REAL32, SIGMA_SVD_AUTO, &problem, 1, &failed}),
                   SIGMA_OUT_OF_MEMORY, "no memory left", "an SVD without memory");
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
  check_too_large<float>(context, 3e38, "the range of float32, got a matrix of norm 6e+38, which is too large");
  check_too_large<double>(context, 1.5e308, "the range of float64, got a matrix of norm 3e+308, which is too large");
  check_chain(context);
  check_gram_qr(context);
  check_memory_limits(context);
}

}  // namespace sigma::check
