// The package's own threads. BLAS runs on one thread inside; parallelism comes from here alone, so that several
// callers (worker threads, SVDs off the event loop) share one set of threads instead of fighting.
#pragma once

#include <cstdint>

namespace sigma::cpu {

void set_threads(int count);
int threads() noexcept;

// While one lives, its thread counts among those at work: the pool's own threads join a job only where a processor is
// left for them. A long computation that is not all parallel holds one; parallel_for does so by itself.
class AtWork {
 public:
  AtWork();
  ~AtWork();
  AtWork(const AtWork&) = delete;
  AtWork& operator=(const AtWork&) = delete;
};

// How many blocks of `size` cover `length`.
constexpr int64_t blocks(int64_t length, int64_t size) { return (length + size - 1) / size; }

// Refers to a callable that outlives it; allocates nothing.
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

// Runs task(0) … task(count - 1), on the caller and on idle threads of the pool, and returns when all are done. The
// first exception comes out here. Tasks must not depend on each other. Within a task it runs in order, on the spot.
// Needs no memory: without threads the caller does it all.
void parallel_for(int64_t count, TaskRef task);

}  // namespace sigma::cpu
