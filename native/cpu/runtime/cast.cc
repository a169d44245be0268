#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

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
    case SIGMA_FLOAT16: return body(static_cast<float16*>(matrix.data));
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

// Calls body(row) for the rows of a call with an int8 matrix, which may have padding.
template <class Body>
void for_rows(const sigma_cast& call, const Body& body) {
  const sigma_matrix& codes = call.from.dtype == SIGMA_INT8 ? call.from : call.to;
  if (codes.scales == nullptr) refuse_types(real_of(call.to.dtype), {call.from.dtype, call.to.dtype});
  const int64_t rows = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, codes.columns));
  parallel_for(blocks(codes.rows, rows), [&](int64_t block) {
    for (int64_t i = block * rows; i < std::min(codes.rows, (block + 1) * rows); ++i) body(i);
  });
}

int64_t groups_of(int64_t columns) { return blocks(columns, SIGMA_SCALE_GROUP); }

// to = codes times scales
void widen_codes(const sigma_cast& call) {
  const sigma_matrix& from = call.from;
  for_numbers(call.to, call, [&]<class To>(To* to) {
    for_rows(call, [&](int64_t i) {
      row_kernels<To>().scaled(from.columns, 0, static_cast<const int8_t*>(from.data) + i * from.stride,
                               from.scales + i * groups_of(from.stride), to + i * call.to.stride);
    });
  });
}

// The scale of some numbers, and their codes.
float encode(int64_t count, const float* numbers, int8_t* codes) {
  constexpr float kMost = 127;
  float largest = 0;
  bool finite = true;
  for (int64_t t = 0; t < count; ++t) {
    const float size = std::abs(numbers[t]);
    finite = finite && size <= std::numeric_limits<float>::max();
    largest = std::max(largest, size);
  }
  if (!finite) throw Failure(SIGMA_NON_FINITE, "int8: expected groups of finite float32 numbers, got NaN or Infinity");
  const float scale = largest / kMost;
  if (scale < std::numeric_limits<float>::min()) {
    std::fill_n(codes, count, int8_t{0});
    return 0;
  }
  for (int64_t t = 0; t < count; ++t) {
    const float code = std::clamp(numbers[t] / scale, -kMost, kMost);
    codes[t] = static_cast<int8_t>(code + (code < 0 ? -0.5f : 0.5f));
  }
  return scale;
}

void narrow_to_codes(const sigma_cast& call) {
  const sigma_matrix& to = call.to;
  for_numbers(call.from, call, [&](const auto* from) {
    for_rows(call, [&](int64_t i) {
      for (int64_t j = 0; j < to.columns; j += SIGMA_SCALE_GROUP) {
        const int64_t count = std::min<int64_t>(SIGMA_SCALE_GROUP, to.columns - j);
        float group[SIGMA_SCALE_GROUP];
        convert(count, from + i * call.from.stride + j, group);
        to.scales[i * groups_of(to.stride) + j / SIGMA_SCALE_GROUP] =
            encode(count, group, static_cast<int8_t*>(to.data) + i * to.stride + j);
      }
    });
  });
}

}  // namespace

void cast(const sigma_cast& call) {
  if (call.from.dtype == SIGMA_INT8) return widen_codes(call);
  if (call.to.dtype == SIGMA_INT8) return narrow_to_codes(call);
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
