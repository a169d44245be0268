// Ways to a thin SVD of a float32 matrix on one thread, in turn: time beside LAPACK's gesdd, and accuracy, for a Gaussian
// matrix and for one whose singular values fall to 1e-6. From the repository's root:
//   g++ -std=c++20 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -Inative bench/study/svd-routes.cc \
//     -DSIGMA_WRAP_OPENBLAS=1 native/cpu/*.cc native/cpu/*/*.cc -l:openblas-serial/libopenblas.a -lpthread -ldl \
//     -Wl,--wrap=blas_memory_alloc,--wrap=blas_memory_free -o build/svd-routes && build/svd-routes 768
#include <lapack.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "cpu/runtime/pool.h"
#include "cpu/svd/routes.h"

// CBLAS's own header conflicts with blas_library.h.
constexpr auto CblasUpper = static_cast<CBLAS_UPLO>(121);
extern "C" {
void cblas_dsyrk(CBLAS_ORDER order, CBLAS_UPLO uplo, CBLAS_TRANSPOSE trans, int n, int k, double alpha, const double* a,
                 int lda, double beta, double* c, int ldc);
double cblas_dnrm2(int n, const double* x, int incx);
}

namespace {

using Matrix = std::vector<float>;

// A (n, n) = U diag(s) Vt, all by rows.
struct Answer {
  Matrix u, s, vt;
  explicit Answer(int n) : u(size_t(n) * n), s(n), vt(size_t(n) * n) {}
};
using Route = std::function<bool(int n, const Matrix& a, Answer& to)>;

bool divide_and_conquer(int n, const Matrix& a, Answer& to) {
  return sigma::cpu::svd_divide_and_conquer(
      sigma::cpu::SvdProblem<float>(n, n, a.data(), to.u.data(), to.s.data(), to.vt.data()));
}

bool gesdd(int n, const Matrix& a, Answer& to) {
  return sigma::cpu::svd_gesdd(sigma::cpu::SvdProblem<float>(n, n, a.data(), to.u.data(), to.s.data(), to.vt.data()));
}

bool gesvd(int n, const Matrix& a, Answer& to) {
  return sigma::cpu::svd_gesvd(sigma::cpu::SvdProblem<float>(n, n, a.data(), to.u.data(), to.s.data(), to.vt.data()));
}

void transpose(int n, const Matrix& from, Matrix& to) {
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) to[size_t(j) * n + i] = from[size_t(i) * n + j];
  }
}

// One-sided Jacobi after a QR with pivoting (Drmač and Veselić 2008). By columns it sees Aᵀ = V S Uᵀ.
bool gejsv(int n, const Matrix& a, Answer& to) {
  Matrix copy = a, v(a.size()), work(size_t(n) * n * 2 + 8 * n + 64);
  std::vector<int> iwork(4 * n);
  const int lwork = int(work.size());
  int info = 0;
  LAPACK_sgejsv("C", "U", "V", "R", "N", "P", &n, &n, copy.data(), &n, to.s.data(), to.vt.data(), &n, v.data(), &n,
                work.data(), &lwork, iwork.data(), &info);
  const float scale = work[0] / work[1];
  for (float& s : to.s) s *= scale;
  transpose(n, v, to.u);
  return info == 0;
}

// QR with pivoting before QR iteration.
bool gesvdq(int n, const Matrix& a, Answer& to) {
  Matrix copy = a, work(size_t(n) * n * 2 + 16 * n + 64), rwork(2 * n);
  std::vector<int> iwork(2 * n);
  int lwork = int(work.size()), lrwork = int(rwork.size()), liwork = int(iwork.size());
  int info = 0, rank = 0;
  LAPACK_sgesvdq("H", "P", "N", "S", "V", &n, &n, copy.data(), &n, to.s.data(), to.vt.data(), &n, to.u.data(), &n,
                 &rank, iwork.data(), &liwork, work.data(), &lwork, rwork.data(), &lrwork, &info);
  return info == 0;
}

// Mixed precision: the eigenvectors of A Aᵀ in float64 are U, and U A / σ the rows of Vt.
bool gram64(int n, const Matrix& a, Answer& to) {
  const std::vector<double> wide(a.begin(), a.end());
  std::vector<double> gram(wide.size()), w(n), rows(wide.size());
  cblas_dsyrk(CblasRowMajor, CblasUpper, CblasNoTrans, n, n, 1, wide.data(), n, 0, gram.data(), n);
  int info = 0, lwork = -1, liwork = -1, isize = 0;
  double size = 0;
  LAPACK_dsyevd("V", "L", &n, gram.data(), &n, w.data(), &size, &lwork, &isize, &liwork, &info);
  std::vector<double> work(size_t(size) + 1);
  std::vector<int> iwork(isize);
  lwork = int(work.size());
  liwork = isize;
  LAPACK_dsyevd("V", "L", &n, gram.data(), &n, w.data(), work.data(), &lwork, iwork.data(), &liwork, &info);
  // gram's rows are the eigenvectors, their values ascending.
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, gram.data(), n, wide.data(), n, 0, rows.data(), n);
  for (int k = 0; k < n; ++k) {
    const size_t from = size_t(n - 1 - k) * n;
    const double sigma = std::sqrt(std::max(0.0, w[n - 1 - k]));
    to.s[k] = float(sigma);
    for (int j = 0; j < n; ++j) {
      to.u[size_t(j) * n + k] = float(gram[from + j]);
      to.vt[size_t(k) * n + j] = float(rows[from + j] / sigma);
    }
  }
  return info == 0;
}

// max |QᵀQ - 1| or max |Q Qᵀ - 1|, and ‖A - U S Vt‖ / ‖A‖
double off_orthogonal(int n, const Matrix& q, bool columns) {
  const std::vector<double> wide(q.begin(), q.end());
  std::vector<double> gram(wide.size());
  cblas_dsyrk(CblasRowMajor, CblasUpper, columns ? CblasTrans : CblasNoTrans, n, n, 1, wide.data(), n, 0, gram.data(), n);
  double worst = 0;
  for (int i = 0; i < n; ++i) {
    for (int j = i; j < n; ++j) worst = std::max(worst, std::abs(gram[size_t(i) * n + j] - (i == j ? 1 : 0)));
  }
  return worst;
}

double residual(int n, const Matrix& a, const Answer& of) {
  std::vector<double> us(of.u.begin(), of.u.end()), rest(a.begin(), a.end());
  const std::vector<double> vt(of.vt.begin(), of.vt.end());
  for (size_t i = 0; i < us.size(); ++i) us[i] *= double(of.s[i % size_t(n)]);
  const double norm = cblas_dnrm2(n * n, rest.data(), 1);
  cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, -1, us.data(), n, vt.data(), n, 1, rest.data(), n);
  return cblas_dnrm2(n * n, rest.data(), 1) / norm;
}

Matrix gaussian(int n) {
  std::mt19937 generator(1);
  std::normal_distribution<float> normal;
  Matrix a(size_t(n) * n);
  for (float& x : a) x = normal(generator);
  return a;
}

Matrix falling(int n) {
  Answer f(n);
  gesdd(n, gaussian(n), f);
  for (int k = 0; k < n; ++k) f.s[k] = float(std::pow(1e-6, double(k) / std::max(1, n - 1)));
  for (size_t i = 0; i < f.u.size(); ++i) f.u[i] *= f.s[i % size_t(n)];
  Matrix a(f.u.size());
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, n, n, 1, f.u.data(), n, f.vt.data(), n, 0, a.data(), n);
  return a;
}

double milliseconds(const std::function<void()>& body) {
  const auto start = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + values.size() / 2, values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int count, char** arguments) {
  const int n = count > 1 ? std::stoi(arguments[1]) : 768;
  sigma::cpu::use_fast_kernels();
  sigma::cpu::set_threads(1);
  const std::vector<std::pair<const char*, Route>> routes = {{"gesdd", gesdd},   {"auto's", divide_and_conquer},
                                                             {"gesvd", gesvd},   {"gejsv", gejsv},
                                                             {"gesvdq", gesvdq}, {"gram64", gram64}};
  for (const auto& [name, a] : {std::pair{"Gaussian", gaussian(n)}, std::pair{"falling to 1e-6", falling(n)}}) {
    std::printf("| %d x %d, %s | ms | over gesdd | residual | UtU - 1 | VtV - 1 |\n|---|---|---|---|---|---|\n", n, n, name);
    std::vector<std::vector<double>> times(routes.size()), ratios(routes.size());
    std::vector<Answer> answers(routes.size(), Answer(n));
    std::vector<bool> solved(routes.size());
    for (int round = 0; round < 5; ++round) {
      for (size_t i = 0; i < routes.size(); ++i) {
        times[i].push_back(milliseconds([&] { solved[i] = routes[i].second(n, a, answers[i]); }));
        ratios[i].push_back(times[i].back() / times[0].back());
      }
    }
    for (size_t i = 0; i < routes.size(); ++i) {
      std::printf("| %s%s | %.1f | %.2f | %.1e | %.1e | %.1e |\n", routes[i].first, solved[i] ? "" : " (failed)",
                  median(times[i]), median(ratios[i]), residual(n, a, answers[i]),
                  off_orthogonal(n, answers[i].u, true), off_orthogonal(n, answers[i].vt, false));
    }
  }
}
