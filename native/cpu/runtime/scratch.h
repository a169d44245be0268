// Scratch memory. Kept for reuse, because page faults cost more than filling a slab, until it is trimmed.
#pragma once

#include <cstddef>

namespace sigma::cpu {

// RAII: uninitialised memory, aligned to a cache line. A thread prefers its previous block, which may be in cache.
class Scratch {
 public:
  explicit Scratch(size_t bytes) noexcept;
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // Null if there is no memory.
  void* data() const noexcept { return memory_; }

 private:
  void* memory_;
  int block_;  // -1 if the memory is not kept
};

// Counts scratch memory that another owner allocates or frees.
void count_scratch(std::ptrdiff_t bytes) noexcept;
// Bytes of all scratch memory of the process.
size_t scratch_bytes() noexcept;
// Frees the blocks that no one holds. Any thread may call it at any time.
void trim_scratch() noexcept;

}  // namespace sigma::cpu
