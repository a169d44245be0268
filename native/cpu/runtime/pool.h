// The thread pool. All parallelism comes from it, and BLAS is single-threaded, so that several callers (worker threads,
// SVDs off the event loop) share one set of threads and do not oversubscribe the processors.
#pragma once

#include <cstdint>

namespace sigma::cpu {

void set_threads(int count);
int threads() noexcept;

// RAII: counts the current thread as busy, so that pool threads join a job only if a processor is free. parallel_for
// holds one; a long computation with serial parts should hold one too.
class AtWork {
 public:
  AtWork();
  ~AtWork();
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;
};

// length / size, rounded up.
constexpr int64_t blocks(int64_t length, int64_t size) { return (length + size - 1) / size; }

// The size of the tiles of `length` that are nearly `about` long and even in number, so that the load balances.
constexpr int64_t even_tiles(int64_t length, int64_t about) {
  const int64_t pairs = (length + about) / (2 * about);
  return blocks(length, 2 * (pairs > 1 ? pairs : 1));
}

// A non-owning reference to a callable.
class TaskRef {
 public:
  template <class Task>
  TaskRef(const Task& task)
      : task_(&task), call_([](const void* called, int64_t index) { (*static_cast<const Task*>(called))(index); }) {}
  void operator()(int64_t index) const { call_(task_, index); }

 private:
  const void* task_;
  void (*call_)(const void*, int64_t);
};

// Runs task(0) … task(count - 1) on the caller and on idle pool threads; returns when all are done. Rethrows the first
// exception. Tasks must be independent. A nested call runs serially. Allocates no memory: if there are no pool threads,
// the caller runs every task.
void parallel_for(int64_t count, TaskRef task);

// The same, or all tasks on the caller, in order, from which a nested call is parallel.
template <class Task>
void parallel_if(bool parallel, int64_t count, const Task& task) {
  if (parallel) return parallel_for(count, task);
  for (int64_t index = 0; index < count; ++index) task(index);
}

}  // namespace sigma::cpu
