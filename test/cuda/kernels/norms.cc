// The norm of many vectors, and their product with a number.
#include <algorithm>
#include <cmath>

#include "families.h"
#include "harness.h"

namespace check {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Vectors that lie `offset` numbers off 16-byte alignment, so that the address sanitizer detects reads beyond them.
template <class T>
std::vector<std::vector<T>> vectors_of(const std::vector<int64_t>& lengths, int64_t offset, double size) {
  std::vector<std::vector<T>> all;
  unsigned seed = 61;
  for (const int64_t length : lengths) {
    std::vector<T> numbers = random_vector<T>(length + offset, seed++);
    for (T& number : numbers) number = static_cast<T>(static_cast<double>(number) * size);
    all.push_back(std::move(numbers));
  }
  return all;
}

template <class T>
std::vector<sigma_vector> views_of(std::vector<std::vector<T>>& all, int64_t offset) {
  std::vector<sigma_vector> views;
  for (auto& numbers : all) views.push_back({numbers.data() + offset, static_cast<int64_t>(numbers.size()) - offset});
  return views;
}

template <class T>
double norm_of(const std::vector<sigma_vector>& views) {
  sigma_context context(0);
  return sigma::cuda::norm(context, kReal<T>, views.data(), static_cast<int64_t>(views.size()));
}

template <class T>
void check_norm(const std::vector<int64_t>& lengths, int64_t offset, double size) {
  const std::string what = std::string(kName<T>) + ", " + std::to_string(lengths.size()) + " vectors, the first of " +
                           std::to_string(lengths[0]) + ", offset " + std::to_string(offset) + ", about " +
                           std::to_string(size);
  auto all = vectors_of<T>(lengths, offset, size);
  const auto views = views_of(all, offset);
  const std::vector<double> got = repeatable(what, [&] { return std::vector<double>{norm_of<T>(views)}; });
  long double sum = 0;
  for (const auto& numbers : all) {
    for (auto at = numbers.begin() + offset; at != numbers.end(); ++at) {
      const long double scaled = static_cast<long double>(*at) / static_cast<long double>(size);
      sum += scaled * scaled;
    }
  }
  const auto want = static_cast<double>(std::sqrt(sum) * static_cast<long double>(size));
  expect(std::abs(got[0] - want) <= 1e-13 * want, what + ": " + std::to_string(got[0] / want - 1) + " off");

  const std::vector<std::vector<T>> before = all;
  sigma_context context(0);
  constexpr double kFactor = 0.37;
  sigma::cuda::scale(context, kReal<T>, views.data(), static_cast<int64_t>(views.size()), kFactor);
  int wrong = 0;
  for (size_t v = 0; v < all.size(); ++v) {
    for (size_t i = 0; i < all[v].size(); ++i) {
      const bool inside = i >= static_cast<size_t>(offset);
      const T scaled = static_cast<T>(static_cast<double>(before[v][i]) * kFactor);
      wrong += all[v][i] != (inside ? scaled : before[v][i]);
    }
  }
  expect(wrong == 0, what + ": " + std::to_string(wrong) + " products with a number");
}

template <class T>
void check_special() {
  const auto norm_with = [](std::vector<double> numbers) {
    std::vector<std::vector<T>> all = {std::vector<T>(700, T(1)), {}};
    for (size_t i = 0; i < numbers.size(); ++i) all[0][300 * i + 7] = static_cast<T>(numbers[i]);
    return norm_of<T>(views_of(all, 0));
  };
  expect(std::isnan(norm_with({kNaN})), "NaN");
  expect(norm_with({-kInfinity}) == kInfinity, "Infinity");
  expect(std::isnan(norm_with({kInfinity, kNaN})), "NaN and Infinity");
  std::vector<std::vector<T>> empty = {{}, {}};
  expect(norm_of<T>(views_of(empty, 0)) == 0, "no numbers");
  std::vector<std::vector<T>> zeros = {std::vector<T>(9)};
  expect(norm_of<T>(views_of(zeros, 0)) == 0, "zeros");
}

template <class T>
void norms_of() {
  // Around a vector of 16 bytes and a block, few and many tensors, and more than one launch takes.
  const std::vector<int64_t> many(17, 5), most(513, 3);
  for (const int64_t offset : {0, 1}) {
    for (const int64_t length : {1, 3, 8, 511, 512, 1025, 70001}) check_norm<T>({length}, offset, 1);
    check_norm<T>({5, 0, 1300, 1}, offset, 1);
    check_norm<T>(many, offset, 1);
    check_norm<T>(most, offset, 1);
  }
  check_special<T>();
}

}  // namespace

void norms() {
  norms_of<float>();
  norms_of<double>();
  for (const double size : {1e-30, 1e30}) check_norm<float>({300, 5}, 0, size);
  for (const double size : {1e-300, 1e-160, 1e160, 1e300}) check_norm<double>({300, 5}, 0, size);
  // Parts of all three sizes: the small ones do not count.
  std::vector<std::vector<double>> mixed = {{1e-200, 3e160}, {4e160, 1}};
  expect(std::abs(norm_of<double>(views_of(mixed, 0)) - 5e160) <= 1e-14 * 5e160, "numbers of all sizes");
  std::vector<std::vector<double>> near = {{1e-154, 1e-154}, {2e-155}};
  expect(std::abs(norm_of<double>(views_of(near, 0)) / std::sqrt(2.04e-308) - 1) <= 1e-13, "numbers near a limit");
}

}  // namespace check
