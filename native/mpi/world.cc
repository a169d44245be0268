#include "mpi/world.h"

#include <dlfcn.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstring>
#include <limits>
#include <string>
#include <thread>
#include <utility>

#include "mpi/failure.h"

namespace sigma::mpi {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kClaim = 1;
constexpr int kAnswer = 2;

// How long a wait spins before it sleeps, and the longest sleep between two looks. Ranks that arrive within a few
// milliseconds of each other are not held up by sleeps, and one that waits for a straggler leaves the processor to
// others. Four ranks on two idle processors under MPICH took 1 ms for a small sum, and 3 ms with a spin of 0.1 ms.
constexpr auto kSpin = std::chrono::milliseconds(2);
constexpr auto kLongestSleep = std::chrono::microseconds(250);

// Before MPI_Finalize: how long ranks still answer, and how long they then do not. The silence must be longer than the
// time between the first and the last rank that see the end of a collective call.
constexpr auto kHandshakes = std::chrono::milliseconds(100);
constexpr auto kSilence = std::chrono::milliseconds(250);

// Makes the symbols of MPI visible to the modules that it opens itself. Some builds of Open MPI do not link them to
// their library, and Node opens addons with private symbols.
void publish_symbols() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&MPI_Init_thread), &info) == 0 || info.dli_fname == nullptr) return;
  dlopen(info.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
}

int count_of(int64_t count, const char* what) {
  if (count > INT_MAX) throw MpiError(std::string(what) + ": expected at most 2^31 - 1 elements a rank");
  return static_cast<int>(count);
}

template <class Real>
MPI_Datatype type_of();
template <>
MPI_Datatype type_of<float>() {
  return MPI_FLOAT;
}
template <>
MPI_Datatype type_of<double>() {
  return MPI_DOUBLE;
}

}  // namespace

void World::run(sigma_mpi_call& call) {
  if (call.kind == SIGMA_MPI_START) return start();
  if (!is_running()) throw MpiError("the world is not running");
  switch (call.kind) {
    case SIGMA_MPI_GATHER: {
      const Bytes all = gathered(call);
      std::copy(all.begin(), all.end(), static_cast<std::byte*>(call.output));
      return;
    }
    case SIGMA_MPI_MEAN: return call.real == SIGMA_REAL64 ? mean<double>(call) : mean<float>(call);
    case SIGMA_MPI_BROADCAST: return broadcast(call);
    case SIGMA_MPI_RESET: counter_ = 0; return;
    case SIGMA_MPI_CLAIM: call.value = claim(call.amount, call.seconds); return;
    case SIGMA_MPI_RUN: return call.work(&call, keep_going, this);
    case SIGMA_MPI_FINISH: return finish(call);
    default: throw MpiError("unknown call");
  }
}

void World::keep_going(void* world) {
  auto& self = *static_cast<World*>(world);
  try {
    self.progress();
    self.interruption_();
  } catch (...) {  // NOLINT: a later call of this rank says what is wrong with MPI
  }
}

void World::start() {
  int is_initialized = 0;
  check(MPI_Initialized(&is_initialized), "MPI_Initialized");
  if (is_initialized != 0) throw MpiError("MPI was already started in this process, by other code");
  publish_symbols();
  int provided = MPI_THREAD_SINGLE;
  // All calls come from this thread, which is not the process's first.
  check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_FUNNELED) throw MpiError("this MPI does not support programs with threads");
  check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  int rank = 0;
  int size = 1;
  MPI_Comm communicator = MPI_COMM_NULL;
  check(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
  check(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  check(MPI_Comm_dup(MPI_COMM_WORLD, &communicator), "MPI_Comm_dup");
  if (rank == 0) answers_.resize(static_cast<size_t>(size));
  rank_ = rank;
  size_ = size;
  communicator_ = communicator;
}

World::Bytes World::gathered(const sigma_mpi_call& call) {
  const auto length = static_cast<size_t>(call.length);
  const auto* const input = static_cast<const std::byte*>(call.input);
  Bytes mine(input, input + length);
  Bytes all(length * static_cast<size_t>(size_));
  MPI_Request request = MPI_REQUEST_NULL;
  const int count = count_of(call.length, "gather");
  check(MPI_Iallgather(mine.data(), count, MPI_BYTE, all.data(), count, MPI_BYTE, communicator_, &request),
        "MPI_Iallgather");
  wait({request}, call.seconds, {&mine, &all});
  return all;
}

// Each rank receives its slice of all vectors, sums the slices in the order of the ranks, and sends the mean of its
// slice to all. So a sum does not depend on which rank's numbers arrive first, all ranks get the same bits, and a rank
// sends 2 (K - 1) / K vectors.
template <class Real>
void World::mean(sigma_mpi_call& call) {
  const auto ranks = static_cast<size_t>(size_);
  const size_t length = static_cast<size_t>(call.length) / sizeof(Real);
  const size_t slice = (length + ranks - 1) / ranks;
  const int count = count_of(static_cast<int64_t>(slice), "mean");
  const auto numbers = [](Bytes& bytes) { return reinterpret_cast<Real*>(bytes.data()); };

  Bytes padded(slice * ranks * sizeof(Real));
  std::memcpy(padded.data(), call.input, length * sizeof(Real));
  Bytes slices(padded.size());  // (K, slice)
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Ialltoall(padded.data(), count, type_of<Real>(), slices.data(), count, type_of<Real>(), communicator_,
                      &request),
        "MPI_Ialltoall");
  wait({request}, call.seconds, {&padded, &slices});

  Bytes mine(slice * sizeof(Real));
  for (size_t i = 0; i < slice; ++i) {
    double sum = 0;
    for (size_t k = 0; k < ranks; ++k) sum += static_cast<double>(numbers(slices)[k * slice + i]);
    numbers(mine)[i] = static_cast<Real>(sum / static_cast<double>(ranks));
  }
  check(MPI_Iallgather(mine.data(), count, type_of<Real>(), padded.data(), count, type_of<Real>(), communicator_,
                       &request),
        "MPI_Iallgather");
  wait({request}, call.seconds, {&mine, &padded});
  std::memcpy(call.output, padded.data(), length * sizeof(Real));
}

void World::broadcast(sigma_mpi_call& call) {
  const auto* const input = static_cast<const std::byte*>(call.input);
  Bytes bytes(input, input + call.length);
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Ibcast(bytes.data(), count_of(call.length, "broadcast"), MPI_BYTE, call.root, communicator_, &request),
        "MPI_Ibcast");
  wait({request}, call.seconds, {&bytes});
  std::copy(bytes.begin(), bytes.end(), static_cast<std::byte*>(call.output));
}

int64_t World::claim(int64_t amount, double seconds) {
  if (rank_ == 0) return std::exchange(counter_, counter_ + amount);
  Bytes sent(sizeof(int64_t));
  Bytes received(sizeof(int64_t));
  std::memcpy(sent.data(), &amount, sizeof(amount));
  std::vector<MPI_Request> requests(2, MPI_REQUEST_NULL);
  check(MPI_Irecv(received.data(), 1, MPI_INT64_T, 0, kAnswer, communicator_, &requests[0]), "MPI_Irecv");
  check(MPI_Isend(sent.data(), 1, MPI_INT64_T, 0, kClaim, communicator_, &requests[1]), "MPI_Isend");
  wait(std::move(requests), seconds, {&sent, &received});
  int64_t before = 0;
  std::memcpy(&before, received.data(), sizeof(before));
  return before;
}

void World::answer_claims() {
  if (rank_ != 0) return;
  for (;;) {
    int is_there = 0;
    MPI_Status status{};
    check(MPI_Iprobe(MPI_ANY_SOURCE, kClaim, communicator_, &is_there, &status), "MPI_Iprobe");
    if (is_there == 0) return;
    const int rank = status.MPI_SOURCE;
    int64_t amount = 0;
    check(MPI_Recv(&amount, 1, MPI_INT64_T, rank, kClaim, communicator_, MPI_STATUS_IGNORE), "MPI_Recv");
    // A rank claims again only when it has its answer, so this memory is free by then.
    int64_t& answer = answers_[static_cast<size_t>(rank)];
    answer = std::exchange(counter_, counter_ + amount);
    MPI_Request request = MPI_REQUEST_NULL;
    check(MPI_Isend(&answer, 1, MPI_INT64_T, rank, kAnswer, communicator_, &request), "MPI_Isend");
    check(MPI_Request_free(&request), "MPI_Request_free");
  }
}

void World::progress() {
  int is_there = 0;
  check(MPI_Iprobe(MPI_ANY_SOURCE, kClaim, communicator_, &is_there, MPI_STATUS_IGNORE), "MPI_Iprobe");
  if (is_there != 0) answer_claims();
}

// In MPICH before 4.2 over UCX and TCP, MPI_Finalize closes the connection to each rank, then waits in the launcher's
// barrier. A close waits for the other rank's answer, and a rank in the barrier answers none. So no rank may answer
// before it has begun its own closes: all ranks end their handshakes, then all are silent until the last has stopped to
// answer.
void World::part() {
  for (const auto end = Clock::now() + kHandshakes; Clock::now() < end; std::this_thread::sleep_for(kLongestSleep))
    progress();
  std::this_thread::sleep_for(kSilence);
}

void World::finish(const sigma_mpi_call& call) {
  const Bytes all = gathered(call);
  const auto length = static_cast<size_t>(call.length);
  for (size_t at = 0; at < all.size(); at += length) {
    if (std::memcmp(all.data() + at, call.input, length) != 0) throw MpiError("the other ranks have not finished");
  }
  part();
  check(MPI_Comm_free(&communicator_), "MPI_Comm_free");
  check(MPI_Finalize(), "MPI_Finalize");
}

void World::wait(std::vector<MPI_Request> requests, double seconds, std::vector<Bytes*> buffers) {
  const auto began = Clock::now();
  auto pause = std::chrono::microseconds(10);
  const auto keep = [&buffers] {
    for (Bytes* const buffer : buffers) new Bytes(std::move(*buffer));
  };
  try {
    for (;;) {
      int is_done = 0;
      check(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &is_done, MPI_STATUSES_IGNORE),
            "MPI_Testall");
      if (is_done != 0) return;
      answer_claims();
      interruption_();
      const auto waited = Clock::now() - began;
      if (std::chrono::duration<double>(waited).count() > seconds) throw TimedOut();
      if (waited < kSpin) {
        sched_yield();
      } else {
        std::this_thread::sleep_for(pause);
        pause = std::min(2 * pause, std::chrono::duration_cast<std::chrono::microseconds>(kLongestSleep));
      }
    }
  } catch (...) {
    keep();
    throw;
  }
}

}  // namespace sigma::mpi
