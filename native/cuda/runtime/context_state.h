// The state of a context.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "cuda/runtime/handles.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/staging.h"
#include "cuda/runtime/timer.h"

namespace sigma::cuda {

// The operations queued since the last wait. Thread-safe.
class QueuedNames {
 public:
  void add(const char* operation);
  // The position after all names so far.
  uint64_t mark() const;
  // Removes and returns the names up to a mark, in the order in which each was last queued.
  std::string take(uint64_t mark);

 private:
  struct Name {
    const char* operation;
    uint64_t last;
  };
  mutable std::mutex mutex_;
  std::vector<Name> names_;  // each operation at most once
  uint64_t count_ = 0;
};

}  // namespace sigma::cuda

struct sigma_context::State {
  explicit State(int device_index);
  ~State();

  sigma::cuda::Device device;
  sigma::cuda::Stream stream;
  sigma::cuda::BlockCache blocks;
  sigma::cuda::GrowingMemory reserved, scratch, tickets;
  size_t ticket_bytes = 0;  // that have been zeroed
  sigma::cuda::Uploader uploader;
  sigma::cuda::Downloader downloader;
  sigma::cuda::QueuedNames names;
  sigma::cuda::Timer timer;
  std::shared_ptr<void> gemm;  // GemmPlans, whose type only gemm.cc knows
};
