#include <cstring>
#include <utility>

#include "check.h"

namespace sigma::check {
namespace {

struct Case {
  sigma_dtype dtype, result;  // of A and B, and of C
  bool transpose_a, transpose_b, accumulate, bias;
  int64_t m, n, k;
  int64_t padding;  // columns between the rows of each matrix
  int64_t offset;   // elements before each matrix
};

float bfloat16_value(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value = 0;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

uint16_t bfloat16_bits(double x) {
  const auto value = static_cast<float>(x);
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// Numbers in their type, and the same numbers in float64.
struct Numbers {
  Numbers(sigma_dtype dtype, const std::vector<double>& from) : bytes(from.size() * element_size(dtype)) {
    for (size_t i = 0; i < from.size(); ++i) {
      if (dtype == SIGMA_FLOAT64) {
        put(i, from[i]);
      } else if (dtype == SIGMA_FLOAT32) {
        put(i, static_cast<float>(from[i]));
      } else {
        put(i, bfloat16_bits(from[i]));
      }
    }
  }
  template <class T>
  void put(size_t i, T value) {
    std::memcpy(&bytes[i * sizeof(T)], &value, sizeof(T));
  }
  std::vector<char> bytes;
};

std::vector<double> widened(sigma_dtype dtype, const std::vector<char>& bytes) {
  std::vector<double> wide(bytes.size() / element_size(dtype));
  for (size_t i = 0; i < wide.size(); ++i) {
    if (dtype == SIGMA_FLOAT64) {
      std::memcpy(&wide[i], &bytes[i * 8], 8);
    } else if (dtype == SIGMA_FLOAT32) {
      float value = 0;
      std::memcpy(&value, &bytes[i * 4], 4);
      wide[i] = static_cast<double>(value);
    } else {
      uint16_t bits = 0;
      std::memcpy(&bits, &bytes[i * 2], 2);
      wide[i] = static_cast<double>(bfloat16_value(bits));
    }
  }
  return wide;
}

// A matrix on the device with memory around it.
struct Operand {
  Operand(sigma_context* context, const Case& c, sigma_dtype dtype, int64_t rows_, int64_t columns_, unsigned seed)
      : rows(rows_), columns(columns_), stride(columns_ + c.padding), offset(c.offset),
        numbers(dtype, gaussian(static_cast<size_t>(rows_ * stride + offset), seed)), buffer(context, numbers.bytes),
        before(widened(dtype, numbers.bytes)) {
    matrix = {static_cast<char*>(buffer.data()) + static_cast<size_t>(offset) * element_size(dtype),
              rows,
              columns,
              stride,
              dtype,
              nullptr};
  }
  double at(int64_t i, int64_t j) const { return before[static_cast<size_t>(offset + i * stride + j)]; }

  int64_t rows, columns, stride, offset;
  Numbers numbers;
  DeviceBuffer buffer;
  std::vector<double> before;
  sigma_matrix matrix;
};

std::string told(const Case& c) {
  const auto flag = [](bool value) { return value ? "1" : "0"; };
  return "gemm type " + std::to_string(c.dtype) + " into " + std::to_string(c.result) + " ta " + flag(c.transpose_a) +
         " tb " + flag(c.transpose_b) + " accumulate " + flag(c.accumulate) + " bias " + flag(c.bias) + " " +
         std::to_string(c.m) + "x" + std::to_string(c.n) + "x" + std::to_string(c.k) + " padding " +
         std::to_string(c.padding);
}

void check_case(sigma_context* context, const Case& c) {
  const Operand a(context, c, c.dtype, c.transpose_a ? c.k : c.m, c.transpose_a ? c.m : c.k, 1);
  const Operand b(context, c, c.dtype, c.transpose_b ? c.n : c.k, c.transpose_b ? c.k : c.n, 2);
  const Operand d(context, c, c.result, c.m, c.n, 3);
  const sigma_dtype vectors = dtype_of(real_of(c.dtype));
  const Numbers bias(vectors, gaussian(static_cast<size_t>(c.n), 4));
  const std::vector<double> addend = widened(vectors, bias.bytes);
  const DeviceBuffer bias_piece(context, bias.bytes);
  const sigma_gemm call{real_of(c.dtype), c.transpose_a, c.transpose_b, c.accumulate,
                        a.matrix,         b.matrix,      d.matrix,      c.bias ? bias_piece.data() : nullptr};
  expect_ok(run(context, backend->gemm, call), told(c));
  const std::vector<double> found = widened(c.result, d.buffer.values<char>(d.numbers.bytes.size()));
  double worst = 0;
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < d.stride; ++j) {
      const double entry = found[static_cast<size_t>(d.offset + i * d.stride + j)];
      if (j >= c.n) {
        expect(entry == d.at(i, j), told(c) + ": wrote between rows");
        continue;
      }
      double wanted = c.accumulate ? d.at(i, j) : 0;
      for (int64_t k = 0; k < c.k; ++k) {
        wanted += (c.transpose_a ? a.at(k, i) : a.at(i, k)) * (c.transpose_b ? b.at(j, k) : b.at(k, j));
      }
      if (c.bias) wanted += addend[static_cast<size_t>(j)];
      worst = std::fmax(worst, std::abs(entry - wanted) / (1 + std::abs(wanted)));
    }
  }
  // bfloat16 has 8 bits of precision. A separate pass for the bias rounds the result twice.
  const double limit = c.result == SIGMA_FLOAT64 ? 1e-13 : c.result == SIGMA_FLOAT32 ? 2e-5 : 0.02;
  expect(worst <= limit, told(c) + ": error " + std::to_string(worst));
}

void check_all(sigma_context* context) {
  const std::pair<sigma_dtype, sigma_dtype> types[] = {{SIGMA_FLOAT32, SIGMA_FLOAT32},
                                                       {SIGMA_FLOAT64, SIGMA_FLOAT64},
                                                       {SIGMA_BFLOAT16, SIGMA_BFLOAT16},
                                                       {SIGMA_BFLOAT16, SIGMA_FLOAT32}};
  for (const auto& [dtype, result] : types) {
    for (int flags = 0; flags < 16; ++flags) {
      Case c = {dtype, result, (flags & 1) != 0, (flags & 2) != 0, (flags & 4) != 0, (flags & 8) != 0, 33, 17, 29,
                0,     0};
      check_case(context, c);
      c.padding = 3;
      c.offset = 1;
      check_case(context, c);
      check_case(context, {dtype, result, c.transpose_a, c.transpose_b, c.accumulate, c.bias, 1, 70, 1, 0, 4});
    }
  }
}

}  // namespace

void check_gemm() {
  const Context context;
  check_all(context);
  check_all(context);  // from cached plans
  {
    const Setting fail("SIGMA_SIMULATED_FAIL", "lt");
    const Context without_lt;
    check_all(without_lt);
  }
  {
    const Context refused;
    {
      const Setting fail("SIGMA_SIMULATED_FAIL", "lt:status");
      check_all(refused);
    }
    check_all(refused);  // the plans remember it
  }
  const Setting fail("SIGMA_SIMULATED_FAIL", "gemm:status");
  const DeviceBuffer buffer(context, 1024);
  const sigma_matrix square = dense_matrix(SIGMA_FLOAT32, buffer.data(), 4, 4);
  const sigma_gemm call{SIGMA_REAL32, 0, 0, 0, square, square, square, nullptr};
  expect_failure(run(context, backend->gemm, call), SIGMA_NATIVE, "gemm: cuBLAS failed with status 13",
                 "a product that fails");
}

}  // namespace sigma::check
