// Products by cuBLASLt, whose epilogue adds the bias in registers.
//
// cuBLAS is column-major, so it sees the transposes of our row-major matrices: Cᵀ = op(B)ᵀ op(A)ᵀ. Swapping A and B is
// enough; no matrix is transposed. A bias of our rows is a bias of its columns, which the epilogue supports.
#include <array>
#include <cstdlib>
#include <cstring>

#include "cuda/gemm/bias.h"
#include "cuda/gemm/plans.h"
#include "cuda/ops.h"
#include "cuda/runtime/context_state.h"
#include "cuda/runtime/types.h"

namespace sigma::cuda {
namespace {

constexpr size_t kPlansKept = 512;

cudaDataType_t data_type(sigma_dtype dtype) {
  return dtype == SIGMA_FLOAT64 ? CUDA_R_64F : dtype == SIGMA_FLOAT32 ? CUDA_R_32F : CUDA_R_16BF;
}

// Keeps float32 precision, as on the CPU, unless the user opts in to TF32 with its 10-bit mantissa.
bool tf32_wanted() {
  static const bool wanted = [] {
    const char* const value = std::getenv("SIGMATUNE_CUDA_TF32");
    return value != nullptr && std::strcmp(value, "1") == 0;
  }();
  return wanted;
}

cublasComputeType_t compute_type(cudaDataType_t type) {
  if (type == CUDA_R_64F) return CUBLAS_COMPUTE_64F;
  return type == CUDA_R_32F && tf32_wanted() ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
}

cudaDataType_t scale_type(cudaDataType_t type) { return type == CUDA_R_64F ? CUDA_R_64F : CUDA_R_32F; }

// 0 and 1 in cuBLAS's type of alpha and beta.
struct Factors {
  explicit Factors(cudaDataType_t type) : wide(scale_type(type) == CUDA_R_64F) {}
  const void* operator()(bool one) const {
    return wide ? static_cast<const void*>(&doubles[one ? 1 : 0]) : static_cast<const void*>(&floats[one ? 1 : 0]);
  }
  bool wide;
  double doubles[2] = {0, 1};
  float floats[2] = {0, 1};
};

uint32_t alignment_of(const void* pointer) {
  constexpr uint32_t kEnough = 256;
  const auto address = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(pointer) & (kEnough - 1));
  return address == 0 ? kEnough : address & (~address + 1);
}

template <class Value>
void set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const Value& value) {
  check(libraries().cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof(value)), "gemm");
}

template <class Value>
void set(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t attribute, const Value& value) {
  check(libraries().cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof(value)), "gemm");
}

// `rows` and `columns` are those of op(matrix).
LtLayout make_layout(cudaDataType_t type, bool transposed, int64_t rows, int64_t columns, int64_t stride) {
  return create_handle<LtLayout>("gemm", libraries().cublasLtMatrixLayoutCreate, type,
                                 static_cast<uint64_t>(transposed ? columns : rows),
                                 static_cast<uint64_t>(transposed ? rows : columns), stride);
}

// Describes the product, and asks cuBLASLt for an algorithm. Returns false if there is none.
bool ask_lt(const GemmPlans& plans, const GemmShape& shape, GemmPlan& plan) {
  const Libraries& l = libraries();
  plan.description = create_handle<LtDescription>("gemm", l.cublasLtMatmulDescCreate, compute_type(shape.type),
                                                  scale_type(shape.type));
  const cublasLtMatmulDesc_t description = plan.description.get();
  set(description, CUBLASLT_MATMUL_DESC_TRANSA, shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(description, CUBLASLT_MATMUL_DESC_TRANSB, shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  if (shape.bias) {
    set(description, CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
    set(description, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, static_cast<int32_t>(shape.result));
  }
  plan.a = make_layout(shape.type, shape.transpose_a, shape.rows, shape.inner, shape.stride_a);
  plan.b = make_layout(shape.type, shape.transpose_b, shape.inner, shape.columns, shape.stride_b);
  plan.d = make_layout(shape.result, false, shape.rows, shape.columns, shape.stride_d);

  const auto preference = create_handle<LtPreference>("gemm", l.cublasLtMatmulPreferenceCreate);
  set(preference.get(), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(plans.workspace_bytes));
  // Split-K must not round its partial sums to the type of the result, which the default allows.
  set(preference.get(), CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t{CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE});
  set(preference.get(), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, shape.alignment_a);
  set(preference.get(), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, shape.alignment_b);
  set(preference.get(), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, shape.alignment_d);
  set(preference.get(), CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, shape.alignment_d);

  cublasLtMatmulHeuristicResult_t result = {};
  int found = 0;
  const cublasStatus_t status =
      l.cublasLtMatmulAlgoGetHeuristic(plans.lt.get(), description, plan.a.get(), plan.b.get(), plan.d.get(),
                                       plan.d.get(), preference.get(), 1, &result, &found);
  if (status != CUBLAS_STATUS_SUCCESS || found == 0 || result.state != CUBLAS_STATUS_SUCCESS) return false;
  plan.algorithm = result.algo;
  return true;
}

GemmPlans& plans_of(sigma_context& context) {
  std::shared_ptr<void>& kept = context.state().gemm;
  if (!kept) kept = std::make_shared<GemmPlans>();
  return *static_cast<GemmPlans*>(kept.get());
}

// Creates the handle and the workspace on first use.
void prepare(sigma_context& context, GemmPlans& plans) {
  if (!plans.lt) plans.lt = create_handle_on<LtHandle>(context.device(), "gemm", libraries().cublasLtCreate);
  if (plans.workspace.data() != nullptr) return;
  // NVIDIA's recommendation for each generation.
  const size_t bytes = size_t{context.device().major >= 9 ? 32u : 4u} << 20;
  plans.workspace = Memory(context.device(), context.stream(), bytes);
  plans.workspace_bytes = bytes;
}

GemmPlan make_plan(const GemmPlans& plans, const GemmShape& shape) {
  GemmPlan plan;
  plan.by_lt = ask_lt(plans, shape, plan);
  return plan;
}

GemmPlan& plan_for(GemmPlans& plans, const GemmShape& shape) {
  const auto known = plans.plans.find(shape);
  if (known != plans.plans.end()) return known->second;
  GemmPlan plan = make_plan(plans, shape);
  if (plans.plans.size() >= kPlansKept) plans.plans.clear();
  return plans.plans.emplace(shape, std::move(plan)).first->second;
}

struct Operands {
  const void* a;
  const void* b;
  void* d;
  const void* bias;
};

// Returns false if cuBLASLt does not support the product after all, as happens at odd leading dimensions.
bool by_lt(sigma_context& context, const GemmPlans& plans, const GemmShape& shape, const GemmPlan& plan,
           const Operands& operands) {
  if (shape.bias) set(plan.description.get(), CUBLASLT_MATMUL_DESC_BIAS_POINTER, operands.bias);
  const Factors factor(shape.type);
  const cublasStatus_t status = libraries().cublasLtMatmul(
      plans.lt.get(), plan.description.get(), factor(true), operands.a, plan.a.get(), operands.b, plan.b.get(),
      factor(shape.accumulate), operands.d, plan.d.get(), operands.d, plan.d.get(), &plan.algorithm,
      plans.workspace.data(), plans.workspace_bytes, context.stream());
  if (status == CUBLAS_STATUS_NOT_SUPPORTED) return false;
  check(status, "gemm");
  return true;
}

void by_blas(sigma_context& context, GemmPlans& plans, const GemmShape& shape, const Operands& operands) {
  const Libraries& l = libraries();
  if (!plans.blas) {
    BlasHandle blas = create_handle_on<BlasHandle>(context.device(), "gemm", l.cublasCreate_v2);
    check(l.cublasSetStream_v2(blas.get(), context.stream()), "gemm");
    check(l.cublasSetWorkspace_v2(blas.get(), plans.workspace.data(), plans.workspace_bytes), "gemm");
    // As for cuBLASLt: partial sums keep the precision of the computation.
    check(l.cublasSetMathMode(blas.get(), static_cast<cublasMath_t>(CUBLAS_DEFAULT_MATH |
                                                                    CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION)),
          "gemm");
    plans.blas = std::move(blas);
  }
  const Factors factor(shape.type);
  check(l.cublasGemmEx_64(plans.blas.get(), shape.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N,
                          shape.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N, shape.rows, shape.columns, shape.inner,
                          factor(true), operands.a, shape.type, shape.stride_a, operands.b, shape.type, shape.stride_b,
                          factor(shape.accumulate), operands.d, shape.result, shape.stride_d, compute_type(shape.type),
                          CUBLAS_GEMM_DEFAULT),
        "gemm");
}

}  // namespace

void gemm(sigma_context& context, const sigma_gemm& call) {
  const auto& [real, transpose_a, transpose_b, accumulate, a, b, c, bias] = call;
  const std::array dtypes = {a.dtype, b.dtype, c.dtype};
  if (!multiplies(real, dtypes.data(), dtypes.size())) refuse_types(real, {a.dtype, b.dtype, c.dtype});
  context.queued("gemm");
  GemmPlans& plans = plans_of(context);
  prepare(context, plans);
  // cuBLASLt adds a bias only in the matrices' type. Of a trained bias, bfloat16 would lose the small updates.
  const bool bias_inside = bias != nullptr && c.dtype == dtype_of(real);
  const GemmShape shape = {
      .type = data_type(a.dtype),
      .result = data_type(c.dtype),
      .transpose_a = transpose_b != 0,
      .transpose_b = transpose_a != 0,
      .rows = c.columns,
      .columns = c.rows,
      .inner = transpose_a != 0 ? a.rows : a.columns,
      .stride_a = b.stride,
      .stride_b = a.stride,
      .stride_d = c.stride,
      .accumulate = accumulate != 0,
      .bias = bias_inside,
      .alignment_a = alignment_of(b.data),
      .alignment_b = alignment_of(a.data),
      .alignment_d = alignment_of(c.data),
  };
  const Operands operands = {b.data, a.data, c.data, bias};
  GemmPlan& plan = plan_for(plans, shape);
  if (plan.by_lt) plan.by_lt = by_lt(context, plans, shape, plan, operands);
  if (!plan.by_lt) by_blas(context, plans, shape, operands);
  if (bias != nullptr && !(plan.by_lt && bias_inside)) add_bias(context, c, bias);
}

}  // namespace sigma::cuda
