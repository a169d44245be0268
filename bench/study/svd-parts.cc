// Times of the parts of an SVD, on two threads, and its orthogonality. From the repository's root:
//   g++ -std=c++20 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -Inative bench/study/svd-parts.cc \
//     -DSIGMA_WRAP_OPENBLAS=1 native/cpu/*.cc native/cpu/*/*.cc -l:openblas-serial/libopenblas.a -lpthread -ldl \
//     -Wl,--wrap=blas_memory_alloc,--wrap=blas_memory_free -o build/svd-parts
//   build/svd-parts largest 2048 2048 128   the largest triples, and all of them
//   build/svd-parts fallback 1024 64        the largest triples of a Gaussian float64 matrix, which has no gap
//   build/svd-parts all 2048                the bidiagonalisation, LAPACK's bdsdc next to our divide and conquer
//   build/svd-parts long 4096 1024          orthogonality of U for several spectra
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cpu/ops.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/bidiagonal.h"
#include "cpu/svd/divide.h"
#include "cpu/svd/gram.h"
#include "cpu/svd/krylov.h"
#include "cpu/svd/partial.h"
#include "cpu/svd/probe.h"
#include "cpu/svd/reflectors.h"
#include "cpu/svd/routes.h"

extern "C" void sbdsdc_(const char* uplo, const char* compq, const int* n, float* d, float* e, float* u, const int* ldu,
                        float* vt, const int* ldvt, float* q, int* iq, float* work, int* iwork, int* info, size_t,
                        size_t);

namespace {

using sigma::cpu::Columns;
using sigma::cpu::PaddedColumns;
using sigma::cpu::SvdProblem;

template <class T>
using Array = std::vector<T>;

constexpr int kRounds = 7;

// The medians of times of `parts`, which run in turn.
std::vector<double> medians(const std::vector<std::function<void()>>& parts) {
  std::vector<std::vector<double>> times(parts.size());
  for (int round = 0; round <= kRounds; ++round) {
    for (size_t i = 0; i < parts.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      parts[i]();
      const auto end = std::chrono::steady_clock::now();
      // The first round warms up.
      if (round > 0) times[i].push_back(std::chrono::duration<double, std::milli>(end - start).count());
    }
  }
  std::vector<double> middle;
  for (auto& of : times) {
    std::nth_element(of.begin(), of.begin() + kRounds / 2, of.end());
    middle.push_back(of[kRounds / 2]);
  }
  return middle;
}

void print(const std::string& title, const std::vector<double>& times, const std::vector<const char*>& names) {
  std::printf("%s, ms\n", title.c_str());
  for (size_t i = 0; i < times.size(); ++i) {
    if (*names[i] != 0) std::printf("%8.2f  %s\n", times[i], names[i]);
  }
}

template <class T>
Array<T> gaussian(int rows, int columns) {
  std::mt19937 generator(1);
  std::normal_distribution<T> normal;
  Array<T> a(size_t(rows) * columns);
  for (T& x : a) x = normal(generator);
  return a;
}

// Results of a decomposition with k triples.
template <class T>
struct Answer {
  Array<T> u, s, vt;
  sigma_svd_problem problem;
  Answer(const Array<T>& a, int m, int n, int k)
      : u(size_t(m) * k), s(k), vt(size_t(k) * n), problem{a.data(), u.data(), s.data(), vt.data(), m, n, k} {}
};

// A (m, n) with the singular vectors of a Gaussian matrix and these singular values.
template <class T>
Array<T> with_values(int m, int n, const std::function<double(int)>& value) {
  const Array<T> random = gaussian<T>(m, n);
  const int r = std::min(m, n);
  Answer<T> of(random, m, n, r);
  sigma::cpu::svd_divide_and_conquer(SvdProblem<T>(of.problem));
  for (size_t i = 0; i < of.u.size(); ++i) of.u[i] *= T(value(int(i % size_t(r))));
  Array<T> a(random.size());
  sigma::cpu::blas_gemm(CblasNoTrans, CblasNoTrans, m, n, r, of.u.data(), r, of.vt.data(), n, T(0), a.data(), n);
  return a;
}

double decaying(int j) { return std::pow(1 + j, -0.6) + 0.02; }

void largest(int m, int n, int k) {
  const Array<float> a = with_values<float>(m, n, decaying);
  const int r = std::min(m, n);
  Answer<float> some(a, m, n, k), all(a, m, n, r);
  const Columns<float> e{const_cast<float*>(a.data()), n, m, n};
  const auto memory = sigma::cpu::numbers<float>(size_t(r) * r), copy = sigma::cpu::numbers<float>(size_t(r) * r);
  const Columns<float> g{memory.get(), r, r, r}, spoilt{copy.get(), r, r, r};
  const PaddedColumns<float> found(r, k);
  bool right = sigma::cpu::svd_partial(SvdProblem<float>(some.problem));
  const auto times = medians({
      [&] { sigma::cpu::gram(e, g); },
      [&] { sigma::cpu::SymmetricBlocks<float>{g}; },
      [&] {
        const auto vectors = sigma::cpu::largest_eigenvectors(sigma::cpu::SymmetricBlocks<float>(g), r, k, 2.5e-6);
        right &= vectors.has_value();
        if (vectors) vectors->write(found.view());
      },
      [&] { std::copy_n(g.data, size_t(r) * r, spoilt.data); },
      [&] { sigma::cpu::subtract_squares(found.view(), some.s.data(), spoilt); },
      [&] { right &= sigma::cpu::is_below(spoilt, float(some.s[k - 1] * (1 + 1e-4))); },
      [&] { sigma::cpu::svd_partial_measures(SvdProblem<float>(some.problem)); },
      [&] { right &= sigma::cpu::svd_partial(SvdProblem<float>(some.problem)); },
      [&] { right &= sigma::cpu::svd_divide_and_conquer(SvdProblem<float>(all.problem)); },
  });
  print(std::to_string(m) + " x " + std::to_string(n) + ", k = " + std::to_string(k) + (right ? "" : ", a part failed"),
        times,
        {"Gram matrix", "in blocks", "block Lanczos, with it", "", "proof: G - X S^2 Xt", "proof: Cholesky", "probe",
         "the largest triples", "all"});
  std::printf("%8.2f  all over the largest\n", times[8] / times[7]);
}

// The largest triples of a matrix without a gap: they fall back to a decomposition, which this compares them with.
void fallback(int n, int k) {
  const Array<double> a = gaussian<double>(n, n);
  Answer<double> some(a, n, n, k), all(a, n, n, n);
  const auto call = [](Answer<double>& of) {
    return [&] {
      int64_t failed = -1;
      sigma::cpu::svd({SIGMA_REAL64, SIGMA_SVD_AUTO, &of.problem, 1, &failed});
    };
  };
  const auto times = medians({call(some), call(all)});
  std::printf("%d x %d in float64, Gaussian, k = %d: %.1f ms, all %.1f ms, ratio %.2f\n", n, n, k, times[0], times[1],
              times[0] / times[1]);
}

// The parts of a decomposition of a square matrix, and LAPACK's divide and conquer.
void all(int n) {
  const Array<float> a = gaussian<float>(n, n);
  Answer<float> whole(a, n, n, n);
  const auto square = size_t(n) * n;
  const PaddedColumns<float> columns(n, n);
  Array<float> d(n), e(n), tauq(n), taup(n), d0, e0, u(square), vt(square), work(3 * square + 4 * n);
  Array<int> iwork(8 * size_t(n));
  const auto reset = [&] {
    d = d0;
    e = e0;
  };
  const auto fill = [&] {
    for (int j = 0; j < n; ++j) std::copy_n(a.data() + size_t(j) * n, n, columns.view().column(j));
  };
  const auto bidiagonalise = [&] {
    sigma::cpu::bidiagonalise(columns, sigma::cpu::Bidiagonal<float>{d.data(), e.data(), tauq.data(), taup.data()});
  };
  fill();
  bidiagonalise();
  d0 = d;
  e0 = e;
  const Columns<float> left{u.data(), n, n, n}, right{vt.data(), n, n, n};
  const auto times = medians({
      fill,
      bidiagonalise,
      reset,
      [&] { sigma::cpu::divide_and_conquer(d.data(), e.data(), left, right); },
      [&] { sigma::cpu::apply_columns(columns.view(), tauq.data(), left); },
      [&] { sigma::cpu::apply_rows(columns.view(), 1, taup.data(), right); },
      reset,
      [&] {
        int info = 0, none = 0;
        float unused = 0;
        sbdsdc_("U", "I", &n, d.data(), e.data(), u.data(), &n, vt.data(), &n, &unused, &none, work.data(), iwork.data(),
                &info, 1, 1);
      },
      [&] { sigma::cpu::svd_measures(SvdProblem<float>(whole.problem)); },
      [&] { sigma::cpu::svd_divide_and_conquer(SvdProblem<float>(whole.problem)); },
  });
  print(std::to_string(n) + " x " + std::to_string(n), times,
        {"", "bidiagonalisation", "", "divide and conquer", "Q U, all columns in one task", "V P, the same", "",
         "LAPACK's bdsdc", "probe", "all"});
}

// ‖UᵀU - 1‖ / √r, where u is a product with A for σ > σ₁ / 5, and Q u for the others.
template <class T>
void orthogonality(int m, int n, const char* what, const std::function<double(int)>& value) {
  const Array<T> a = with_values<T>(m, n, value);
  Answer<T> of(a, m, n, n);
  sigma::cpu::svd_divide_and_conquer(SvdProblem<T>(of.problem));
  const Array<double> u(of.u.begin(), of.u.end());
  Array<double> gram(size_t(n) * n);
  sigma::cpu::blas_gemm(CblasTrans, CblasNoTrans, n, n, m, u.data(), n, u.data(), n, 0.0, gram.data(), n);
  double squares = 0;
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) squares += std::pow(gram[size_t(i) * n + j] - (i == j ? 1 : 0), 2);
  }
  std::printf("%d x %d, float%d, %s: %.1e\n", m, n, int(8 * sizeof(T)), what, std::sqrt(squares / n));
}

template <class T>
void tall(int m, int n) {
  const auto half = [&](double least) { return [n, least](int j) { return j < n / 2 ? 1 : least; }; };
  orthogonality<T>(m, n, "down to a hundredth, evenly", [&](int j) { return 1 - 0.99 * j / n; });
  orthogonality<T>(m, n, "down to a fourth, evenly", [&](int j) { return 1 - 0.75 * j / n; });
  orthogonality<T>(m, n, "half of them at 1, half above 1/5", half(0.201));
  orthogonality<T>(m, n, "half of them at 1, half below 1/5: by Q", half(0.199));
}

}  // namespace

int main(int count, char** arguments) {
  const auto number = [&](int i, int otherwise) { return count > i ? std::stoi(arguments[i]) : otherwise; };
  const std::string what = count > 1 ? arguments[1] : "largest";
  sigma::cpu::use_fast_kernels();
  sigma::cpu::set_threads(2);
  if (what == "largest") {
    largest(number(2, 2048), number(3, 2048), number(4, 128));
  } else if (what == "fallback") {
    fallback(number(2, 1024), number(3, 64));
  } else if (what == "all") {
    all(number(2, 2048));
  } else {
    tall<float>(number(2, 4096), number(3, 1024));
    tall<double>(number(2, 4096), number(3, 1024));
  }
}
