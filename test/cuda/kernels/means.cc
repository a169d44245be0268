// The means over ranks.
#include "cuda/nccl/mean.h"
#include "families.h"
#include "harness.h"

namespace check {
namespace {

// To the bit: the sums are float64, in the order of the ranks.
template <class T>
void check_means(int64_t ranks, int64_t count) {
  const std::string what = std::string(kName<T>) + ", " + std::to_string(ranks) + " x " + std::to_string(count);
  std::vector<T> vectors = random_vector<T>(ranks * count, 51);
  // Sums that cancel, so that another order gives other bits.
  for (size_t i = 0; i < vectors.size(); i += 3) vectors[i] *= static_cast<T>(i % 2 == 0 ? 1e12 : -1e12);
  Guarded<T> given(vectors, 1);
  Guarded<T> means(std::vector<T>(static_cast<size_t>(count), T(7)), 1);
  sigma::cuda::mean_of(nullptr, kReal<T>, given.data(), ranks, count, means.data());
  int wrong = 0;
  for (int64_t i = 0; i < count; ++i) {
    double sum = 0;
    for (int64_t k = 0; k < ranks; ++k) sum += number(vectors[static_cast<size_t>(k * count + i)]);
    const double mean = sum / static_cast<double>(ranks);
    wrong += means[static_cast<size_t>(i)] != number(static_cast<T>(mean));
  }
  expect(wrong == 0, what + ": " + std::to_string(wrong) + " means");
  expect(means.guards_untouched(), what + ": wrote outside");
}

}  // namespace

void means() {
  for (const int64_t ranks : {1, 2, 3, 8}) {
    for (const int64_t count : {0, 1, 255, 256, 257, 1000}) {
      check_means<float>(ranks, count);
      check_means<double>(ranks, count);
    }
  }
}

}  // namespace check
