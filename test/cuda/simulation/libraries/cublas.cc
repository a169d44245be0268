// A fake cuBLAS on OpenBLAS, with the functions that the backend calls. SIGMA_SIMULATED_FAIL=gemm:status: they fail.
#include <cublas_v2.h>

#include "products.h"

using namespace sigma::simulation;

struct cublasContext {
  cudaStream_t stream = nullptr;
  cublasMath_t math = CUBLAS_DEFAULT_MATH;
  void* workspace = nullptr;
  size_t bytes = 0;
};

namespace {

bool transposed(cublasOperation_t operation) { return operation == CUBLAS_OP_T; }

// Whether alpha or beta is 1; the backend uses only 0 and 1.
bool is_one(const void* scale, cublasComputeType_t type, const char* call) {
  const double value = type == CUBLAS_COMPUTE_64F ? *static_cast<const double*>(scale)
                                                  : static_cast<double>(*static_cast<const float*>(scale));
  require(value == 0 || value == 1, call, "expected 0 or 1 in the compute type");
  return value == 1;
}

void require_compute_type(cudaDataType type, cublasComputeType_t compute, const char* call) {
  require(compute == (type == CUDA_R_64F ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F), call,
          "expected the precision of the matrices");
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

cublasStatus_t cublasCreate_v2(cublasHandle_t* handle) {
  if (device_failed() || !has_handle_memory()) return CUBLAS_STATUS_NOT_INITIALIZED;
  openblas_set_num_threads(1);
  *handle = new cublasContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDestroy_v2(cublasHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

// As the real one, also forgets the workspace.
cublasStatus_t cublasSetStream_v2(cublasHandle_t handle, cudaStream_t stream) {
  *handle = {stream, handle->math};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetMathMode(cublasHandle_t handle, cublasMath_t mode) {
  handle->math = mode;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasSetWorkspace_v2(cublasHandle_t handle, void* workspace, size_t bytes) {
  require_operand(workspace, bytes, "cublasSetWorkspace");
  handle->workspace = workspace;
  handle->bytes = bytes;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasGemmEx_64(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb, int64_t m,
                               int64_t n, int64_t k, const void* alpha, const void* A, cudaDataType Atype, int64_t lda,
                               const void* B, cudaDataType Btype, int64_t ldb, const void* beta, void* C,
                               cudaDataType Ctype, int64_t ldc, cublasComputeType_t computeType,
                               cublasGemmAlgo_t algo) {
  return cublasGemmStridedBatchedEx_64(handle, transa, transb, m, n, k, alpha, A, Atype, lda, 0, B, Btype, ldb, 0, beta,
                                       C, Ctype, ldc, 0, 1, computeType, algo);
}

cublasStatus_t cublasGemmStridedBatchedEx_64(cublasHandle_t handle, cublasOperation_t transa, cublasOperation_t transb,
                                             int64_t m, int64_t n, int64_t k, const void* alpha, const void* A,
                                             cudaDataType Atype, int64_t lda, long long int strideA, const void* B,
                                             cudaDataType Btype, int64_t ldb, long long int strideB, const void* beta,
                                             void* C, cudaDataType Ctype, int64_t ldc, long long int strideC,
                                             int64_t batchCount, cublasComputeType_t computeType, cublasGemmAlgo_t) {
  const char* const call = "cublasGemm";
  if (planted("gemm") == Planted::status || device_failed()) return CUBLAS_STATUS_EXECUTION_FAILED;
  require(Atype == Btype, call, "expected operands of one type");
  require(Atype != CUDA_R_16BF || (handle->math & CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION) != 0, call,
          "expected a math mode that keeps partial sums in float32");
  require_compute_type(Atype, computeType, call);
  require(is_one(alpha, computeType, call), call, "expected alpha = 1");
  require(m > 0 && n > 0 && k > 0 && batchCount > 0, call, "expected a product that is not empty");
  if (handle->workspace != nullptr) {
    enqueue(handle->stream, [memory = handle->workspace, bytes = handle->bytes] { fill_rubbish(memory, bytes); });
  }
  const bool ta = transposed(transa), tb = transposed(transb);
  for (int64_t i = 0; i < batchCount; ++i) {
    const auto at = [&](const void* data, long long int stride, cudaDataType type) {
      return static_cast<const char*>(data) + i * stride * static_cast<long long int>(type_size(type));
    };
    const Product product = {
        Atype,
        Ctype,
        m,
        n,
        k,
        {at(A, strideA, Atype), ta ? k : m, ta ? m : k, lda, ta},
        {at(B, strideB, Btype), tb ? n : k, tb ? k : n, ldb, tb},
        const_cast<char*>(at(C, strideC, Ctype)),
        ldc,
        is_one(beta, computeType, call),
    };
    check(product, call);
    enqueue(handle->stream, [product] { multiply(product, {}); });
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasDtrsm_v2_64(cublasHandle_t handle, cublasSideMode_t side, cublasFillMode_t uplo,
                                 cublasOperation_t trans, cublasDiagType_t diag, int64_t m, int64_t n,
                                 const double* alpha, const double* A, int64_t lda, double* B, int64_t ldb) {
  const char* const call = "cublasDtrsm";
  const Planted failure = planted("trsm");
  if (failure == Planted::status || device_failed()) return CUBLAS_STATUS_EXECUTION_FAILED;
  require(side == CUBLAS_SIDE_RIGHT && uplo == CUBLAS_FILL_MODE_UPPER && trans == CUBLAS_OP_N &&
              diag == CUBLAS_DIAG_NON_UNIT && *alpha == 1,
          call, "expected B R⁻¹ with an upper R");
  require_matrix(A, n, n, lda, sizeof(double), call);
  require_matrix(B, m, n, ldb, sizeof(double), call);
  enqueue(handle->stream, [=] {
    const HostBlas blas;
    cblas_dtrsm(CblasColMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit, static_cast<int>(m),
                static_cast<int>(n), 1.0, A, static_cast<int>(lda), B, static_cast<int>(ldb));
    if (failure == Planted::wrong) B[0] += 0.01;
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
#pragma GCC visibility pop
