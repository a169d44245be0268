#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/ops.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/pool.h"

namespace sigma::cpu {
namespace {

constexpr int64_t kBlock = 4096;

// The float32 from which rounding to a narrower type gives the nearest number to x: of two equally near, rounding x to
// float32 first could land on the wrong one. So the last bit tells whether x was rounded (rounding to odd).
float for_rounding(double x) {
  float near = static_cast<float>(x);
  if (!std::isfinite(near) || static_cast<double>(near) == x) return near;
  if (std::abs(static_cast<double>(near)) > std::abs(x)) near = std::nextafter(near, 0.0f);
  uint32_t bits = 0;
  std::memcpy(&bits, &near, sizeof(bits));
  bits |= 1;
  std::memcpy(&near, &bits, sizeof(bits));
  return near;
}

// Calls body with a pointer to the matrix's numbers.
template <class Body>
void for_numbers(const sigma_matrix& matrix, const sigma_cast& call, const Body& body) {
  switch (matrix.dtype) {
    case SIGMA_FLOAT32: return body(static_cast<float*>(matrix.data));
    case SIGMA_FLOAT64: return body(static_cast<double*>(matrix.data));
    case SIGMA_BFLOAT16: return body(static_cast<bfloat16*>(matrix.data));
    case SIGMA_INT8: break;
  }
  refuse_types(real_of(call.to.dtype), {call.from.dtype, call.to.dtype});
}

// to[i] = from[i] for `count` ≤ kBlock numbers.
template <class From, class To>
void convert(int64_t count, const From* from, To* to) {
  if constexpr (std::is_same_v<From, To>) {
    std::copy_n(from, count, to);
  } else if constexpr (std::is_same_v<Real<From>, From> && std::is_same_v<Real<To>, To>) {
    std::transform(from, from + count, to, [](From x) { return static_cast<To>(x); });
  } else if constexpr (std::is_same_v<From, float>) {
    row_kernels<To>().narrow(count, from, to);
  } else if constexpr (std::is_same_v<To, float>) {
    row_kernels<From>().widen(count, from, to);
  } else {
    float between[kBlock];
    if constexpr (std::is_same_v<From, double>) {
      std::transform(from, from + count, between, for_rounding);
    } else {
      convert(count, from, between);
    }
    convert(count, between, to);
  }
}

}  // namespace

void cast(const sigma_cast& call) {
  const int64_t count = call.from.rows * call.from.columns;
  for_numbers(call.from, call, [&](const auto* from) {
    for_numbers(call.to, call, [&](auto* to) {
      parallel_for(blocks(count, kBlock), [&](int64_t block) {
        const int64_t begin = block * kBlock;
        convert(std::min(kBlock, count - begin), from + begin, to + begin);
      });
    });
  });
}

}  // namespace sigma::cpu
