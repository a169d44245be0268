// The processes of one job, and what they do together. Only the library's thread uses it.
#pragma once

#include <mpi.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "contract/mpi.h"

namespace sigma::mpi {

class World {
 public:
  // Called again and again while the world waits; throws to end the wait.
  using Interruption = std::function<void()>;

  explicit World(Interruption interruption) : interruption_(std::move(interruption)) {}

  // Does what a call asks for. Throws TimedOut, MpiError or std::bad_alloc.
  void run(sigma_mpi_call& call);
  // Lets MPI deliver messages, and answers claims. To be called about every millisecond while no call runs.
  void progress();
  bool is_running() const { return communicator_ != MPI_COMM_NULL; }

  int rank() const { return rank_; }
  int size() const { return size_; }

 private:
  using Bytes = std::vector<std::byte>;

  // `progress` for work that waits by itself.
  static void keep_going(void* world);
  void start();
  Bytes gathered(const sigma_mpi_call& call);
  template <class Real>
  void mean(sigma_mpi_call& call);
  void broadcast(sigma_mpi_call& call);
  int64_t claim(int64_t amount, double seconds);
  void finish(const sigma_mpi_call& call);
  void part();

  // Waits for requests that read and write `buffers`. After a time-out MPI may still use them, so they are never freed.
  void wait(std::vector<MPI_Request> requests, double seconds, std::vector<Bytes*> buffers);
  void answer_claims();

  Interruption interruption_;
  MPI_Comm communicator_ = MPI_COMM_NULL;
  std::atomic<int> rank_ = 0;
  std::atomic<int> size_ = 1;
  int64_t counter_ = 0;           // on rank 0
  std::vector<int64_t> answers_;  // on rank 0: the last answer to each rank
};

}  // namespace sigma::mpi
