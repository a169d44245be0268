// cast, adamw and sgd.
#include <cmath>
#include <limits>

#include "families.h"
#include "harness.h"

namespace check {
namespace {

std::string describe(const char* type, int64_t count, int64_t offset) {
  return std::string(type) + ", " + std::to_string(count) + " numbers, offset " + std::to_string(offset);
}

// ── cast ─────────────────────────────────────────────────────────────────────────────────────────────────

// Ties of each type, both zeros, the ends of the ranges, subnormal numbers.
std::vector<double> hard_numbers() {
  std::vector<double> numbers = {0.0,
                                 -0.0,
                                 1,
                                 -1,
                                 kNaN,
                                 1 + 0x1p-8,
                                 1 + 0x1p-7 + 0x1p-8,
                                 1 + 0x1p-8 + 0x1p-30,
                                 1 + 0x1p-8 - 0x1p-30,
                                 1 + 0x1p-8 + 0x1p-50,
                                 1 + 0x1p-8 - 0x1p-50,
                                 -(1 + 0x1p-8 + 0x1p-50),
                                 1 + 0x1p-24,
                                 1 + 0x1p-23 + 0x1p-24,
                                 0x1p-126,
                                 0x1p-133,
                                 0x1p-134,
                                 0x1.8p-134,
                                 -0x1p-140,
                                 0x1p-149,
                                 0x1p-150,
                                 1e-300,
                                 -1e-300,
                                 1e300,
                                 -1e300,
                                 0x1.fffffep127,
                                 0x1.fep127,
                                 0x1.ffp127,
                                 0x1.fefffep127,
                                 3.4e38};
  numbers.push_back(std::numeric_limits<double>::infinity());
  numbers.push_back(-std::numeric_limits<double>::infinity());
  return numbers;
}

template <class From, class To>
void check_cast(const std::vector<From>& given, int64_t from_offset, int64_t to_offset) {
  const std::string what = describe(kName<From>, static_cast<int64_t>(given.size()), from_offset) + " to " + kName<To>;
  Guarded<From> from(given, from_offset);
  Guarded<To> to(std::vector<To>(given.size(), rounded<To>(7)), to_offset);
  sigma_context context(0);
  const auto count = static_cast<int64_t>(given.size());
  sigma::cuda::cast(context, {sigma::dense_matrix(kDtype<From>, from.data(), 1, count),
                              sigma::dense_matrix(kDtype<To>, to.data(), 1, count)});
  int wrong = 0;
  for (size_t i = 0; i < given.size(); ++i) {
    const double want = number(rounded<To>(number(given[i])));
    const bool same = std::isnan(want) ? std::isnan(to[i]) : to[i] == want && std::signbit(to[i]) == std::signbit(want);
    wrong += !same;
  }
  expect(wrong == 0, what + ": " + std::to_string(wrong) + " numbers");
  expect(to.guards_untouched(), what + ": wrote outside");
}

template <class From, class To>
void casts_from_to() {
  for (const int64_t count : {1, 2, 3, 7, 8, 9, 255, 2048, 2051, 5000}) {
    const auto numbers = random_vector<From>(count, 51);
    check_cast<From, To>(numbers, 0, 0);
    check_cast<From, To>(numbers, 1, 0);
    check_cast<From, To>(numbers, 0, 1);
  }
  std::vector<From> hard;
  for (const double n : hard_numbers()) hard.push_back(rounded<From>(n));
  check_cast<From, To>(hard, 0, 0);
  check_cast<From, To>(hard, 1, 1);
}

template <class From>
void casts_from() {
  casts_from_to<From, float>();
  casts_from_to<From, double>();
  casts_from_to<From, bfloat16>();
}

// ── optimisers ───────────────────────────────────────────────────────────────────────────────────────────

template <class T>
int count_wrong(const Guarded<T>& got, const std::vector<double>& want, const std::vector<double>& size) {
  int wrong = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    Sum sum;
    sum.value = want[i];
    sum.size = size[i];
    sum.terms = 16;
    wrong += !close<T>(got[i], sum);
  }
  return wrong;
}

template <class T>
void check_adamw(int64_t count, int64_t offset, int64_t step) {
  const std::string what = "adamw, " + describe(kName<T>, count, offset) + ", step " + std::to_string(step);
  const auto parameter = random_vector<T>(count, 61);
  const auto gradient = random_vector<T>(count, 62);
  const auto first = random_vector<T>(count, 63);
  auto second = random_vector<T>(count, 64);
  for (T& v : second) v = v < 0 ? -v : v;
  Guarded<T> x(parameter, offset), g(gradient, offset), m(first, offset), v(second, offset);
  sigma_context context(0);
  const sigma_adamw o{kReal<T>, 0.01, 0.9, 0.99, 1e-8, 0.1, step, count, x.data(), g.data(), m.data(), v.data()};
  sigma::cuda::adamw(context, o);

  std::vector<double> want_x, want_m, want_v, size_x, size_m, size_v;
  for (size_t i = 0; i < parameter.size(); ++i) {
    const double p = number(parameter[i]);
    const double d = number(gradient[i]);
    const double m0 = number(first[i]);
    const double v0 = number(second[i]);
    want_m.push_back(o.beta1 * m0 + (1 - o.beta1) * d);
    want_v.push_back(std::hypot(std::sqrt(o.beta2) * v0, std::sqrt(1 - o.beta2) * d));
    const double corrected1 = want_m.back() / (1 - std::pow(o.beta1, static_cast<double>(step)));
    const double corrected2 = want_v.back() / std::sqrt(1 - std::pow(o.beta2, static_cast<double>(step)));
    want_x.push_back(p * (1 - o.lr * o.weight_decay) - o.lr * corrected1 / (corrected2 + o.eps));
    size_m.push_back(std::abs(m0) + std::abs(d));
    size_v.push_back(v0 + std::abs(d));
    const double error1 = size_m.back() / (1 - std::pow(o.beta1, static_cast<double>(step)));
    size_x.push_back(std::abs(p) + o.lr * error1 / (corrected2 + o.eps));
  }
  expect(count_wrong(m, want_m, size_m) == 0, what + ": m");
  expect(count_wrong(v, want_v, size_v) == 0, what + ": v");
  expect(count_wrong(x, want_x, size_x) == 0, what + ": parameter");
  expect(x.guards_untouched() && m.guards_untouched() && v.guards_untouched(), what + ": wrote outside");
}

// A gradient whose square overflows or underflows still moves the parameter by the learning rate.
template <class T>
void check_adamw_range() {
  const T least = std::numeric_limits<T>::min();
  const T most = std::numeric_limits<T>::max();
  // Far above the smallest normal number, the lower bound of eps.
  const T small = least * static_cast<T>(0x1p40);
  const std::vector<T> gradient = {most / 2, -most / 4, std::sqrt(most) * 64, small, -small * 8, std::sqrt(least), 0};
  std::vector<T> x(gradient.size(), 1), m(gradient.size()), v(gradient.size());
  const auto count = static_cast<int64_t>(x.size());
  const sigma_adamw o{kReal<T>, 0.5, 0.9, 0.99, 0, 0, 1, count, x.data(), gradient.data(), m.data(), v.data()};
  sigma_context context(0);
  sigma::cuda::adamw(context, o);
  for (size_t i = 0; i < x.size(); ++i) {
    const double sign = gradient[i] > 0 ? 1 : gradient[i] < 0 ? -1 : 0;
    expect(std::abs(number(x[i]) - (1 - 0.5 * sign)) < 1e-5,
           "adamw, " + std::string(kName<T>) + ": gradient of any size");
  }
}

template <class T>
void check_sgd(int64_t count, int64_t offset, double momentum, bool at_first) {
  const std::string what =
      "sgd, " + describe(kName<T>, count, offset) + (at_first ? ", first" : "") + (momentum != 0 ? ", momentum" : "");
  const auto parameter = random_vector<T>(count, 65);
  const auto gradient = random_vector<T>(count, 66);
  // The first step must ignore the contents of the momentum buffer.
  const auto before =
      at_first ? std::vector<T>(static_cast<size_t>(count), static_cast<T>(kNaN)) : random_vector<T>(count, 67);
  Guarded<T> x(parameter, offset), g(gradient, offset), buffer(before, offset);
  sigma_context context(0);
  T* const moments = momentum != 0 ? buffer.data() : nullptr;
  const sigma_sgd o{kReal<T>, 0.05, momentum, 0.02, at_first ? 1 : 0, count, x.data(), g.data(), moments};
  sigma::cuda::sgd(context, o);

  std::vector<double> want_x, want_buffer, size_x, size_buffer;
  for (size_t i = 0; i < parameter.size(); ++i) {
    const double p = number(parameter[i]);
    const double d = number(gradient[i]);
    const double old = momentum == 0 || at_first ? 0 : momentum * number(before[i]);
    want_buffer.push_back(old + d + o.weight_decay * p);
    size_buffer.push_back(std::abs(old) + std::abs(d) + std::abs(p));
    want_x.push_back(p - o.lr * want_buffer.back());
    size_x.push_back(std::abs(p) + o.lr * size_buffer.back());
  }
  expect(count_wrong(x, want_x, size_x) == 0, what + ": parameter");
  if (momentum != 0) expect(count_wrong(buffer, want_buffer, size_buffer) == 0, what + ": buffer");
  expect(x.guards_untouched() && buffer.guards_untouched(), what + ": wrote outside");
}

template <class T>
void optimisers_of() {
  check_adamw_range<T>();
  for (const int64_t offset : {0, 1}) {
    for (const int64_t count : {1, 3, 4, 5, 1023, 1024, 1025, 3000}) {
      check_adamw<T>(count, offset, 1);
      check_adamw<T>(count, offset, 1000);
      check_sgd<T>(count, offset, 0, true);
      check_sgd<T>(count, offset, 0.9, true);
      check_sgd<T>(count, offset, 0.9, false);
    }
  }
}

}  // namespace

bfloat16 nearest_bfloat16(double value) {
  const auto sign = static_cast<uint16_t>(std::signbit(value) ? 0x8000 : 0);
  if (std::isnan(value)) return {0x7fc0};
  const double size = std::abs(value);
  // In units in the last place; below 2^-126 the unit is constant.
  const int exponent = size < 0x1p-126 ? -126 : std::ilogb(size);
  if (std::isinf(size) || exponent > 127) return {static_cast<uint16_t>(sign | 0x7f80)};
  const double units = std::nearbyint(std::ldexp(size, 7 - exponent));
  // Rounding up to the next power of 2, and beyond the largest number, carries into the exponent.
  const double bits = units - (size < 0x1p-126 ? 0 : 128) + (size < 0x1p-126 ? 0 : 128.0 * (exponent + 127));
  return {static_cast<uint16_t>(sign | static_cast<uint16_t>(bits))};
}

void casts() {
  casts_from<float>();
  casts_from<double>();
  casts_from<bfloat16>();
}

void optimisers() {
  optimisers_of<float>();
  optimisers_of<double>();
}

}  // namespace check
