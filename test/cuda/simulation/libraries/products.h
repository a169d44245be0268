// D = op(A) op(B) [+ D], column-major, in the types that the backend uses.
#pragma once

#include <cblas.h>
#include <library_types.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "host_blas.h"
#include "operands.h"

namespace sigma::simulation {

inline size_t type_size(cudaDataType type) {
  return type == CUDA_R_64F ? 8 : type == CUDA_R_32F ? 4 : type == CUDA_R_16BF ? 2 : 0;
}

inline float from_bfloat16(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value = 0;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

inline uint16_t to_bfloat16(float value) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  if (std::isnan(value)) return 0x7fff;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

struct Operand {
  const void* data;
  int64_t rows, columns, stride;  // before op()
  bool transposed;
};

struct Product {
  cudaDataType type, result;  // of A and B, and of D
  int64_t rows, columns, inner;
  Operand a, b;
  void* d;
  int64_t stride_d;
  bool accumulate;
};

inline std::vector<float> widened(const Operand& o) {
  std::vector<float> wide(static_cast<size_t>(o.rows * o.columns));
  for (int64_t j = 0; j < o.columns; ++j) {
    for (int64_t i = 0; i < o.rows; ++i) {
      wide[static_cast<size_t>(j * o.rows + i)] = from_bfloat16(static_cast<const uint16_t*>(o.data)[j * o.stride + i]);
    }
  }
  return wide;
}

inline CBLAS_TRANSPOSE operation(const Operand& o) { return o.transposed ? CblasTrans : CblasNoTrans; }

inline int blas_int(int64_t value) { return static_cast<int>(value); }

inline void multiply_float(const Product& p, const float* a, int64_t lda, const float* b, int64_t ldb, float beta,
                           float* d, int64_t ldd) {
  const HostBlas blas;
  cblas_sgemm(CblasColMajor, operation(p.a), operation(p.b), blas_int(p.rows), blas_int(p.columns), blas_int(p.inner),
              1.0f, a, blas_int(lda), b, blas_int(ldb), beta, d, blas_int(ldd));
}

inline void check(const Product& p, const char* call) {
  const size_t size = type_size(p.type);
  require(size != 0, call, "expected float64, float32 or bfloat16");
  require(p.result == p.type || (p.type == CUDA_R_16BF && p.result == CUDA_R_32F), call,
          "expected a result of the operands' type, or a float32 one of bfloat16 operands");
  require_matrix(p.a.data, p.a.rows, p.a.columns, p.a.stride, size, call);
  require_matrix(p.b.data, p.b.rows, p.b.columns, p.b.stride, size, call);
  require_matrix(p.d, p.rows, p.columns, p.stride_d, type_size(p.result), call);
  static const auto count = of_backend<void (*)()>("sigma_simulated_count_product");
  if (count != nullptr) count();
}

// Adds `bias` (rows) before rounding the result.
inline void multiply(const Product& p, const std::vector<double>& bias) {
  const auto addend = [&](int64_t i) { return bias.empty() ? 0.0 : bias[static_cast<size_t>(i)]; };
  if (p.type == CUDA_R_64F) {
    auto* const d = static_cast<double*>(p.d);
    const HostBlas blas;
    cblas_dgemm(CblasColMajor, operation(p.a), operation(p.b), blas_int(p.rows), blas_int(p.columns), blas_int(p.inner),
                1.0, static_cast<const double*>(p.a.data), blas_int(p.a.stride), static_cast<const double*>(p.b.data),
                blas_int(p.b.stride), p.accumulate ? 1.0 : 0.0, d, blas_int(p.stride_d));
    if (bias.empty()) return;
    for (int64_t j = 0; j < p.columns; ++j) {
      for (int64_t i = 0; i < p.rows; ++i) d[j * p.stride_d + i] += addend(i);
    }
  } else if (p.type == CUDA_R_32F) {
    auto* const d = static_cast<float*>(p.d);
    multiply_float(p, static_cast<const float*>(p.a.data), p.a.stride, static_cast<const float*>(p.b.data), p.b.stride,
                   p.accumulate ? 1.0f : 0.0f, d, p.stride_d);
    if (bias.empty()) return;
    for (int64_t j = 0; j < p.columns; ++j) {
      for (int64_t i = 0; i < p.rows; ++i) d[j * p.stride_d + i] += static_cast<float>(addend(i));
    }
  } else {
    const std::vector<float> a = widened(p.a), b = widened(p.b);
    std::vector<float> wide(static_cast<size_t>(p.rows * p.columns));
    multiply_float(p, a.data(), p.a.rows, b.data(), p.b.rows, 0.0f, wide.data(), p.rows);
    const auto add_to = [&](auto* d, const auto& read, const auto& round) {
      for (int64_t j = 0; j < p.columns; ++j) {
        for (int64_t i = 0; i < p.rows; ++i) {
          auto& entry = d[j * p.stride_d + i];
          const float before = p.accumulate ? read(entry) : 0.0f;
          entry = round(wide[static_cast<size_t>(j * p.rows + i)] + before + static_cast<float>(addend(i)));
        }
      }
    };
    const auto same = [](float value) { return value; };
    if (p.result == CUDA_R_32F) return add_to(static_cast<float*>(p.d), same, same);
    add_to(static_cast<uint16_t*>(p.d), from_bfloat16, to_bfloat16);
  }
}

}  // namespace sigma::simulation
