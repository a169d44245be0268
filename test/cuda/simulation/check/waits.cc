// Work that is right only if the backend waits where it must, on the streams of the device and on the host. The
// simulation runs everything as late as the waits allow; scripts/cuda-mutants.mjs removes each wait in turn.
#include <array>
#include <numeric>

#include "svd_answer.h"

namespace sigma::check {
namespace {

// More than the ring of pinned chunks holds, twice, from memory that is overwritten in between.
void check_uploads() {
  const Context context;
  const size_t count = size_t{5} << 20;
  std::vector<int> values(count);
  std::iota(values.begin(), values.end(), 1);
  const DeviceBuffer first(context, values);
  for (int& value : values) value = -value;
  const DeviceBuffer second(context, values);
  expect(second.values<int>(count) == values, "the second upload");
  for (int& value : values) value = -value;
  expect(first.values<int>(count) == values, "the first upload");
}

// Everything queued before a context is destroyed runs, and finds its memory alive.
void check_destruction() {
  const std::vector<float> numbers(4096, 2.0f);
  const Context reader;
  void* memory = nullptr;
  expect_ok(backend->allocate(reader, numbers.size() * sizeof(float), &memory), "allocate");
  expect_ok(backend->synchronize(reader), "synchronize");
  {
    const Context writer;
    expect_ok(backend->upload(writer, memory, numbers.data(), numbers.size() * sizeof(float)), "upload");
    void* scratch = nullptr;
    expect_ok(backend->reserve(writer, 1 << 20, &scratch), "reserve");
    expect_ok(backend->zero(writer, scratch, 1 << 20), "zero");
  }
  std::vector<float> found(numbers.size());
  expect_ok(backend->download(reader, found.data(), memory, numbers.size() * sizeof(float)), "download");
  expect(found == numbers, "work that was queued before its context was destroyed");
  backend->release(reader, memory);
}

// One context writes what another reads, once the first is synchronised.
void check_two_contexts() {
  const Context writer, reader;
  const std::vector<float> numbers(1000, 3.0f);
  const DeviceBuffer shared(writer, numbers);
  expect_ok(backend->synchronize(writer), "synchronize");
  std::vector<float> found(numbers.size());
  expect_ok(backend->download(reader, found.data(), shared.data(), numbers.size() * sizeof(float)), "download");
  expect(found == numbers, "what another context wrote");
  // A download of nothing waits too.
  const DeviceBuffer other(writer, numbers);
  expect_ok(backend->download(writer, found.data(), other.data(), 0), "download");
  expect_ok(backend->download(reader, found.data(), other.data(), numbers.size() * sizeof(float)), "download");
  expect(found == numbers, "what another context wrote before an empty download");
}

void check_without_events() {
  const Context writer, reader;
  const std::vector<float> numbers(1000, 5.0f);
  const DeviceBuffer shared(writer, numbers);
  {
    const Setting none("SIGMA_SIMULATED_EVENTS", "0");
    expect_ok(backend->synchronize(writer), "synchronize without an event");
  }
  std::vector<float> found(numbers.size());
  expect_ok(backend->download(reader, found.data(), shared.data(), numbers.size() * sizeof(float)), "download");
  expect(found == numbers, "what another context wrote before a wait without an event");
}

void check_timer() {
  const Context context;
  const DeviceBuffer buffer(context, size_t{1} << 20);
  expect_ok(backend->start_timer(context), "start_timer");
  expect_ok(backend->zero(context, buffer.data(), size_t{1} << 20), "zero");
  double milliseconds = -1;
  expect_ok(backend->stop_timer(context, &milliseconds), "stop_timer");
  expect(milliseconds > 0, "the timer covers the work, not the calls that queue it");
}

// Memory that another context released is there once its work has run.
void check_released_elsewhere() {
  const Context first, second;
  const Setting limit("SIGMA_SIMULATED_MEMORY", std::to_string(64 << 20));
  void* memory = nullptr;
  expect_ok(backend->allocate(first, size_t{40} << 20, &memory), "allocate");
  expect_ok(backend->zero(first, memory, size_t{40} << 20), "zero");
  backend->release(first, memory);
  expect_ok(backend->allocate(second, size_t{40} << 20, &memory), "an allocation of what another stream released");
  backend->release(second, memory);
}

template <class T>
void check_drivers(sigma_real real, const std::vector<sigma_svd_driver>& drivers) {
  const std::vector<Matrix> matrices = {
      random_matrix({60, 40}, 1), random_matrix({40, 60}, 2),          random_matrix({12, 9}, 3),
      random_matrix({60, 40}, 4), scaled(random_matrix({9, 5}, 5), 0), scaled(random_matrix({50, 41}, 6), 0),
      random_matrix({12, 9}, 7)};
  for (const sigma_svd_driver driver : drivers) {
    const Context context;
    std::vector<Problem<T>> problems;
    std::vector<sigma_svd_problem> described;
    for (const Matrix& a : matrices) {
      problems.emplace_back(context, a);
      described.push_back(problems.back().described());
    }
    // Only zero matrices, and all.
    constexpr std::array<std::array<size_t, 2>, 2> kRanges = {{{4, 6}, {0, 7}}};
    for (const auto& [begin, end] : kRanges) {
      int64_t failed = -1;
      const auto count = static_cast<int64_t>(end - begin);
      expect_ok(run(context, backend->svd, {real, driver, described.data() + begin, count, &failed}), "svd");
      for (size_t i = begin; i < end; ++i) check_answer(problems[i], "an SVD right after its upload");
    }
  }
}

}  // namespace

void check_waits() {
  check_uploads();
  check_destruction();
  check_two_contexts();
  check_without_events();
  check_timer();
  check_released_elsewhere();
  check_drivers<float>(SIGMA_REAL32, {SIGMA_SVD_GRAM64, SIGMA_SVD_GESVDJ, SIGMA_SVD_GESVDP, SIGMA_SVD_GESVD});
  check_drivers<double>(SIGMA_REAL64, {SIGMA_SVD_AUTO});
}

}  // namespace sigma::check
