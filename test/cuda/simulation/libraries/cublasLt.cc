// A fake cuBLASLt on OpenBLAS, with the functions that the backend calls. An algorithm rejects any other shape, less
// alignment, and less workspace than it was chosen for.
//
// SIGMA_SIMULATED_FAIL=lt: the heuristic finds no algorithm. SIGMA_SIMULATED_FAIL=lt:status: the heuristic succeeds,
// but cublasLtMatmul does not support the product.
#include <cublasLt.h>

#include <vector>

#include "products.h"

using namespace sigma::simulation;

struct cublasLtContext {};

namespace {

constexpr size_t kWorkspace = size_t{64} << 10;

struct Description {
  cublasComputeType_t compute;
  cudaDataType_t scale;
  int32_t transpose_a, transpose_b, epilogue, bias_type;
  const void* bias;
};
struct Layout {
  cudaDataType type;
  int64_t rows, columns, stride;
};
struct Preference {
  uint64_t workspace;
  uint32_t alignment[4];  // of A, B, C, D
  uint32_t reductions;
};
struct Algorithm {
  uint64_t shape;  // hash of all inputs of the choice
  uint32_t alignment[4];
  uint64_t workspace;
};

template <class Part, class Opaque>
Part& part(Opaque* opaque) {
  static_assert(sizeof(Part) <= sizeof(Opaque));
  return *reinterpret_cast<Part*>(opaque);
}

uint64_t digest(const Description& d, const Layout& a, const Layout& b, const Layout& c) {
  uint64_t hash = 14695981039346656037u;
  const auto add = [&](int64_t value) { hash = (hash ^ static_cast<uint64_t>(value)) * 1099511628211u; };
  for (const int64_t value : {int64_t{d.compute}, int64_t{d.scale}, int64_t{d.transpose_a}, int64_t{d.transpose_b},
                              int64_t{d.epilogue}, int64_t{d.bias_type}}) {
    add(value);
  }
  for (const Layout* l : {&a, &b, &c}) {
    for (const int64_t value : {int64_t{l->type}, l->rows, l->columns, l->stride}) add(value);
  }
  return hash;
}

bool aligned(const void* pointer, uint32_t alignment) { return reinterpret_cast<uintptr_t>(pointer) % alignment == 0; }

cudaDataType bias_type(const Description& d, const Layout& result) {
  return d.bias_type < 0 ? result.type : static_cast<cudaDataType>(d.bias_type);
}

void check_bias(const Description& d, const Layout& result) {
  if (d.epilogue != CUBLASLT_EPILOGUE_BIAS) return;
  require_operand(d.bias, static_cast<size_t>(result.rows) * type_size(bias_type(d, result)), "cublasLtMatmul");
}

std::vector<double> read_bias(const Description& d, const Layout& result) {
  std::vector<double> bias;
  if (d.epilogue != CUBLASLT_EPILOGUE_BIAS) return bias;
  const cudaDataType type = bias_type(d, result);
  for (int64_t i = 0; i < result.rows; ++i) {
    bias.push_back(type == CUDA_R_64F   ? static_cast<const double*>(d.bias)[i]
                   : type == CUDA_R_32F ? static_cast<double>(static_cast<const float*>(d.bias)[i])
                                        : static_cast<double>(from_bfloat16(static_cast<const uint16_t*>(d.bias)[i])));
  }
  return bias;
}

bool scale_is_one(const void* scale, cudaDataType type) {
  const double value =
      type == CUDA_R_64F ? *static_cast<const double*>(scale) : static_cast<double>(*static_cast<const float*>(scale));
  require(value == 0 || value == 1, "cublasLtMatmul", "expected alpha and beta in the scale type");
  return value == 1;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  if (device_failed() || !has_handle_memory()) return CUBLAS_STATUS_NOT_INITIALIZED;
  openblas_set_num_threads(1);
  *handle = new cublasLtContext;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete handle;
  return CUBLAS_STATUS_SUCCESS;
}

size_t cublasLtGetVersion() { return CUBLAS_VERSION; }

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, cublasComputeType_t compute,
                                        cudaDataType_t scale) {
  *description = new cublasLtMatmulDescOpaque_t{};
  part<Description>(*description) = {compute, scale, CUBLAS_OP_N, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, -1, nullptr};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete description;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description,
                                              cublasLtMatmulDescAttributes_t attribute, const void* buffer,
                                              size_t bytes) {
  auto& d = part<Description>(description);
  if (attribute == CUBLASLT_MATMUL_DESC_BIAS_POINTER) {
    if (bytes != sizeof(void*)) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&d.bias, buffer, bytes);
    return CUBLAS_STATUS_SUCCESS;
  }
  int32_t* const to = attribute == CUBLASLT_MATMUL_DESC_TRANSA           ? &d.transpose_a
                      : attribute == CUBLASLT_MATMUL_DESC_TRANSB         ? &d.transpose_b
                      : attribute == CUBLASLT_MATMUL_DESC_EPILOGUE       ? &d.epilogue
                      : attribute == CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE ? &d.bias_type
                                                                         : nullptr;
  if (to == nullptr || bytes != sizeof(*to)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(to, buffer, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, cudaDataType type, uint64_t rows,
                                          uint64_t columns, int64_t stride) {
  *layout = new cublasLtMatrixLayoutOpaque_t{};
  part<Layout>(*layout) = {type, static_cast<int64_t>(rows), static_cast<int64_t>(columns), stride};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = new cublasLtMatmulPreferenceOpaque_t{};
  part<Preference>(*preference) = {0, {256, 256, 256, 256}, CUBLASLT_REDUCTION_SCHEME_MASK};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* buffer,
                                                    size_t bytes) {
  auto& p = part<Preference>(preference);
  if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES) {
    if (bytes != sizeof(p.workspace)) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&p.workspace, buffer, bytes);
    return CUBLAS_STATUS_SUCCESS;
  }
  if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK) {
    if (bytes != sizeof(p.reductions)) return CUBLAS_STATUS_INVALID_VALUE;
    std::memcpy(&p.reductions, buffer, bytes);
    return CUBLAS_STATUS_SUCCESS;
  }
  const int which = attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES;
  if (which < 0 || which > 3 || bytes != sizeof(uint32_t)) return CUBLAS_STATUS_INVALID_VALUE;
  std::memcpy(&p.alignment[which], buffer, bytes);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t results[], int* found) {
  const auto& p = part<Preference>(preference);
  const auto& desc = part<Description>(description);
  const auto& result = part<Layout>(d);
  *found = 0;
  if (planted("lt") == Planted::unconverged) return CUBLAS_STATUS_NOT_SUPPORTED;
  // Partial sums of a bfloat16 product must not be rounded to bfloat16.
  require((p.reductions & ~uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE}) == 0 || result.type != CUDA_R_16BF,
          "cublasLtMatmulAlgoGetHeuristic", "expected reduction schemes that keep partial sums in float32");
  // The documentation lists no float32 bias for bfloat16 results.
  if (desc.epilogue == CUBLASLT_EPILOGUE_BIAS && bias_type(desc, result) != result.type) {
    return CUBLAS_STATUS_NOT_SUPPORTED;
  }
  require(c == d, "cublasLtMatmulAlgoGetHeuristic", "expected equal layouts of C and D");
  results[0] = {};
  auto& algorithm = part<Algorithm>(&results[0].algo);
  algorithm.shape = digest(desc, part<Layout>(a), part<Layout>(b), result);
  std::memcpy(algorithm.alignment, p.alignment, sizeof(p.alignment));
  algorithm.workspace = p.workspace < kWorkspace ? 0 : kWorkspace;
  results[0].workspaceSize = algorithm.workspace;
  results[0].state = CUBLAS_STATUS_SUCCESS;
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha, const void* A,
                              cublasLtMatrixLayout_t a, const void* B, cublasLtMatrixLayout_t b, const void* beta,
                              const void* C, cublasLtMatrixLayout_t, void* D, cublasLtMatrixLayout_t d,
                              const cublasLtMatmulAlgo_t* algo, void* workspace, size_t workspace_bytes,
                              cudaStream_t stream) {
  const char* const call = "cublasLtMatmul";
  const auto desc = part<Description>(description);  // copies: the call reads them, not the queued work
  const auto la = part<Layout>(a), lb = part<Layout>(b), ld = part<Layout>(d);
  const auto& algorithm = part<const Algorithm>(algo);
  if (planted("gemm") == Planted::status || device_failed()) return CUBLAS_STATUS_EXECUTION_FAILED;
  if (planted("lt") == Planted::status) return CUBLAS_STATUS_NOT_SUPPORTED;
  require(algorithm.shape == digest(desc, la, lb, ld), call, "expected the product that the algorithm was chosen for");
  require(aligned(A, algorithm.alignment[0]) && aligned(B, algorithm.alignment[1]) &&
              aligned(C, algorithm.alignment[2]) && aligned(D, algorithm.alignment[3]),
          call, "expected the alignment that the algorithm was chosen for");
  require(workspace_bytes >= algorithm.workspace, call, "expected the workspace that the algorithm needs");
  require_operand(workspace, workspace_bytes, call);
  require(la.type == lb.type && C == D, call, "expected operands of one type");
  require(desc.compute == (la.type == CUDA_R_64F ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F), call,
          "expected the precision of the matrices");
  require(scale_is_one(alpha, desc.scale), call, "expected alpha = 1");

  const bool ta = desc.transpose_a == CUBLAS_OP_T, tb = desc.transpose_b == CUBLAS_OP_T;
  const int64_t inner = ta ? la.rows : la.columns;
  if ((ta ? la.columns : la.rows) != ld.rows || (tb ? lb.rows : lb.columns) != ld.columns ||
      (tb ? lb.columns : lb.rows) != inner) {
    return CUBLAS_STATUS_INVALID_VALUE;
  }
  const Product product = {la.type,
                           ld.type,
                           ld.rows,
                           ld.columns,
                           inner,
                           {A, la.rows, la.columns, la.stride, ta},
                           {B, lb.rows, lb.columns, lb.stride, tb},
                           D,
                           ld.stride,
                           scale_is_one(beta, desc.scale)};
  check(product, call);
  check_bias(desc, ld);
  enqueue(stream, [=, used = algorithm.workspace] {
    if (used > 0) fill_rubbish(workspace, used);
    multiply(product, read_bias(desc, ld));
  });
  return CUBLAS_STATUS_SUCCESS;
}

}  // extern "C"
#pragma GCC visibility pop
