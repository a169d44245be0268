// Means over ranks, each a process of its own with the stand-in for NCCL.
#include <spawn.h>
#include <sys/wait.h>

#include <thread>

#include "check.h"
#include "contract/collective.h"

extern char** environ;

namespace sigma::check {
namespace {

constexpr int kRanks = 3;
constexpr int64_t kCounts[] = {1, 1000, 0, 37};

template <class T>
std::vector<T> numbers(int rank, int64_t span, int64_t count) {
  const std::vector<double> normal = gaussian(static_cast<size_t>(count), static_cast<unsigned>(100 * rank + span));
  return std::vector<T>(normal.begin(), normal.end());
}

std::string hex(const unsigned char* bytes, size_t count) {
  std::string text;
  for (size_t i = 0; i < count; ++i) {
    char two[3];
    std::snprintf(two, sizeof(two), "%02x", bytes[i]);
    text += two;
  }
  return text;
}

template <class T>
void expect_means(sigma_context* context, sigma_ranks* ranks, sigma_real real, int rank, sigma_wait& wait) {
  std::vector<DeviceBuffer> buffers;
  std::vector<sigma_span> spans;
  for (size_t i = 0; i < std::size(kCounts); ++i) {
    buffers.emplace_back(context, numbers<T>(rank, static_cast<int64_t>(i), kCounts[i]));
    spans.push_back({buffers.back().data(), kCounts[i]});
  }
  // As in the addon: another thread waits for the ranks, while this one goes on with the context.
  sigma_status status = SIGMA_NATIVE;
  std::string told;
  std::thread other([&] {
    status = backend->collective->mean(ranks, real, spans.data(), static_cast<int64_t>(spans.size()), &wait);
    if (status != SIGMA_OK) told = backend->last_error();
  });
  for (int i = 0; i < 10; ++i) {
    const DeviceBuffer work(context, std::vector<float>(100, 1));
    expect(work.values<float>(100) == std::vector<float>(100, 1), "work meanwhile");
  }
  other.join();
  expect(status == SIGMA_OK, "mean: " + told);
  for (size_t i = 0; i < std::size(kCounts); ++i) {
    const auto found = buffers[i].values<T>(static_cast<size_t>(kCounts[i]));
    std::vector<double> sums(found.size());
    for (int k = 0; k < kRanks; ++k) {
      const auto own = numbers<T>(k, static_cast<int64_t>(i), kCounts[i]);
      for (size_t j = 0; j < own.size(); ++j) sums[j] += static_cast<double>(own[j]);
    }
    int wrong = 0;
    for (size_t j = 0; j < found.size(); ++j) wrong += found[j] != static_cast<T>(sums[j] / kRanks);
    expect(wrong == 0, "rank " + std::to_string(rank) + ", span " + std::to_string(i) + ": " + std::to_string(wrong));
  }
}

void run_as(int rank, const unsigned char* id) {
  const Context context;
  sigma_wait wait = {.seconds = 60, .progress = [](void*) {}, .caller = nullptr, .timed_out = 0};
  sigma_ranks* ranks = nullptr;
  expect_ok(backend->collective->join(context, id, rank, kRanks, &wait, &ranks), "join");
  if (ranks == nullptr) return;
  expect_means<float>(context, ranks, SIGMA_REAL32, rank, wait);
  expect_means<double>(context, ranks, SIGMA_REAL64, rank, wait);
  backend->collective->leave(ranks, &wait);
  expect(wait.timed_out == 0, "no time-out");
}

}  // namespace

bool open_collective() {
  sigma_collective_probe probe = {};
  backend->collective->open(&probe);
  expect(probe.available != 0, std::string("NCCL: ") + probe.detail);
  return probe.available != 0;
}

// "rank <rank> <id>", in a process that check_ranks has started.
void run_rank(const char* rank, const char* id) {
  unsigned char bytes[SIGMA_COLLECTIVE_ID_BYTES] = {};
  for (size_t i = 0; i < sizeof(bytes); ++i) {
    bytes[i] = static_cast<unsigned char>(std::stoi(std::string(id + 2 * i, 2), nullptr, 16));
  }
  if (open_collective()) run_as(std::atoi(rank), bytes);
}

void check_ranks(const char* program, const char* library) {
  if (!open_collective()) return;
  unsigned char id[SIGMA_COLLECTIVE_ID_BYTES] = {};
  expect_ok(backend->collective->make_id(id), "make_id");
  std::vector<pid_t> children;
  for (int rank = 1; rank < kRanks; ++rank) {
    std::string number = std::to_string(rank), text = hex(id, sizeof(id));
    std::string words[] = {program, library, "rank"};
    char* const arguments[] = {words[0].data(), words[1].data(), words[2].data(), number.data(), text.data(), nullptr};
    pid_t child = 0;
    expect(posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, arguments, environ) == 0, "posix_spawn");
    children.push_back(child);
  }
  run_as(0, id);
  for (const pid_t child : children) {
    int status = 0;
    expect(waitpid(child, &status, 0) == child && status == 0, "rank: status " + std::to_string(status));
  }
}

}  // namespace sigma::check
