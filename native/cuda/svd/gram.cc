// For the tall A (rows, columns) in float64: G = AᵀA = V diag(λ) Vᵀ, then A V = Q R. With λ in descending order R is
// nearly diagonal. s is |diag(R)|, and U is Q with the signs of diag(R). The QR is CholeskyQR2, or Householder's if a
// matrix of the batch has columns of A V that are close to dependent.
#include <algorithm>
#include <cstddef>

#include "cuda/svd/routes.h"

namespace sigma::cuda {
namespace {

// XsyevBatched has an undocumented limit near 32768 problems.
constexpr int64_t kMostBatched = 16384;

// C (m, n) = op(A) B for every problem, column-major.
struct Product {
  cublasOperation_t operation;
  int64_t m, n, k;
  const double* a;
  int64_t a_stride, a_item;
  const double* b;
  int64_t b_stride, b_item;
  double* c;
};

void multiply(const SvdBatch& batch, const Product& p) {
  const double one = 1, zero = 0;
  check(libraries().cublasGemmStridedBatchedEx_64(batch.lane.blas(), p.operation, CUBLAS_OP_N, p.m, p.n, p.k, &one, p.a,
                                                  CUDA_R_64F, p.a_stride, p.a_item, p.b, CUDA_R_64F, p.b_stride,
                                                  p.b_item, &zero, p.c, CUDA_R_64F, p.m, p.m * p.n, batch.count,
                                                  CUBLAS_COMPUTE_64F, CUBLAS_GEMM_DEFAULT),
        "gram64");
}

void eigenvectors_looped(const SvdBatch& batch, double* g, double* values, int* info) {
  const Libraries& l = libraries();
  const SvdLane& lane = batch.lane;
  const int64_t n = batch.shape.columns();
  for (int64_t i = 0; i < batch.count; ++i) {
    double* const own = g + i * n * n;
    size_t device_bytes = 0, host_bytes = 0;
    check(l.cusolverDnXsyevd_bufferSize(lane.solver(), lane.params(), CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_UPPER,
                                        n, CUDA_R_64F, own, /* lda = */ n, CUDA_R_64F, values + i * n, CUDA_R_64F,
                                        &device_bytes, &host_bytes),
          "gram64");
    const Memory work = lane.workspace(device_bytes);
    std::vector<std::byte> host_work(host_bytes);
    const cusolverStatus_t status =
        l.cusolverDnXsyevd(lane.solver(), lane.params(), CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_UPPER, n,
                           CUDA_R_64F, own, /* lda = */ n, CUDA_R_64F, values + i * n, CUDA_R_64F, work.data(),
                           device_bytes, host_work.data(), host_bytes, info + i);
    lane.wait();  // before host_work is freed, even on failure
    check(status, "gram64");
  }
}

void eigenvectors_batched(const SvdBatch& batch, double* g, double* values, int* info) {
  const Libraries& l = libraries();
  const SvdLane& lane = batch.lane;
  const int64_t n = batch.shape.columns();
  for (int64_t begin = 0; begin < batch.count; begin += kMostBatched) {
    const int64_t count = std::min(kMostBatched, batch.count - begin);
    double* const own = g + begin * n * n;
    size_t device_bytes = 0, host_bytes = 0;
    check(l.cusolverDnXsyevBatched_bufferSize(lane.solver(), lane.params(), CUSOLVER_EIG_MODE_VECTOR,
                                              CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F, own, /* lda = */ n, CUDA_R_64F,
                                              values + begin * n, CUDA_R_64F, &device_bytes, &host_bytes, count),
          "gram64");
    const Memory work = lane.workspace(device_bytes);
    std::vector<std::byte> host_work(host_bytes);
    const cusolverStatus_t status = l.cusolverDnXsyevBatched(
        lane.solver(), lane.params(), CUSOLVER_EIG_MODE_VECTOR, CUBLAS_FILL_MODE_UPPER, n, CUDA_R_64F, own,
        /* lda = */ n, CUDA_R_64F, values + begin * n, CUDA_R_64F, work.data(), device_bytes, host_work.data(),
        host_bytes, info + begin, count);
    lane.wait();  // before host_work is freed, even on failure
    check(status, "gram64");
  }
}

// Overwrites C = Q R with Q, by Householder reflections; `values` receives the diagonal of R.
void orthonormalise(const SvdBatch& batch, double* c, double* values, int* info) {
  const Libraries& l = libraries();
  const SvdLane& lane = batch.lane;
  const int m = svd_int(batch.shape.rows(), "gram64"), n = svd_int(batch.shape.columns(), "gram64");
  const SvdNumbers<double> tau(lane, batch.count * n);
  const auto item = [&](int64_t i) { return c + i * batch.shape.size(); };
  int factor_length = 0, form_length = 0;
  check(l.cusolverDnDgeqrf_bufferSize(lane.solver(), m, n, c, /* lda = */ m, &factor_length), "gram64");
  check(l.cusolverDnDorgqr_bufferSize(lane.solver(), m, n, n, c, /* lda = */ m, tau.data(), &form_length), "gram64");
  const auto bytes = [](int length) { return svd_length(length, "gram64") * sizeof(double); };
  for (int64_t i = 0; i < batch.count; ++i) {
    const Memory work = lane.workspace(bytes(factor_length));
    check(l.cusolverDnDgeqrf(lane.solver(), m, n, item(i), /* lda = */ m, tau.data() + i * n,
                             static_cast<double*>(work.data()), factor_length, info + 2 * i),
          "gram64");
  }
  svd_diagonal(batch, c, batch.shape.rows(), values);
  for (int64_t i = 0; i < batch.count; ++i) {
    const Memory work = lane.workspace(bytes(form_length));
    check(l.cusolverDnDorgqr(lane.solver(), m, n, n, item(i), /* lda = */ m, tau.data() + i * n,
                             static_cast<double*>(work.data()), form_length, info + 2 * i + 1),
          "gram64");
  }
}

// C = A V
void project(const SvdBatch& batch, const double* a, const double* v, double* c) {
  const int64_t m = batch.shape.rows(), n = batch.shape.columns();
  multiply(batch, {CUBLAS_OP_N, m, n, n, a, m, m * n, v, n, n * n, c});
}

}  // namespace

void svd_gram(const SvdBatch& batch, const double* c, double* g) {
  const int64_t m = batch.shape.rows(), n = batch.shape.columns();
  multiply(batch, {CUBLAS_OP_T, n, n, m, c, m, m * n, c, m, m * n, g});
}

std::vector<bool> svd_gram64(const SvdBatch& batch) {
  svd_int(batch.shape.size(), "gram64");
  const SvdLane& lane = batch.lane;
  const int64_t m = batch.shape.rows(), n = batch.shape.columns();
  const SvdNumbers<double> v(lane, batch.count * n * n), values(lane, batch.count * n), c(lane, batch.count * m * n);
  const SvdNumbers<int> eigen_info(lane, batch.count), factor_info(lane, 2 * batch.count);
  eigen_info.zero();
  factor_info.zero();
  {
    const SvdNumbers<double> a(lane, batch.count * m * n);
    svd_load<float>(batch, a.data());
    svd_gram(batch, a.data(), v.data());
    const bool batched = batch.count > 1 && libraries().cusolverDnXsyevBatched != nullptr &&
                         libraries().cusolverDnXsyevBatched_bufferSize != nullptr;
    (batched ? eigenvectors_batched : eigenvectors_looped)(batch, v.data(), values.data(), eigen_info.data());
    svd_reverse_columns(batch, v.data());
    project(batch, a.data(), v.data(), c.data());
  }
  if (!svd_cholesky_qr(batch, c.data(), values.data())) {
    const SvdNumbers<double> a(lane, batch.count * m * n);
    svd_load<float>(batch, a.data());
    project(batch, a.data(), v.data(), c.data());
    orthonormalise(batch, c.data(), values.data(), factor_info.data());
  }
  svd_store<float, double>(batch, values.data(), {c.data(), m * n, 1, m, values.data()},
                           {v.data(), n * n, 1, n, nullptr});
  std::vector<bool> solved = svd_solved(eigen_info);
  const std::vector<bool> factored = svd_solved(factor_info);
  for (size_t i = 0; i < solved.size(); ++i) solved[i] = solved[i] && factored[2 * i] && factored[2 * i + 1];
  return solved;
}

}  // namespace sigma::cuda
