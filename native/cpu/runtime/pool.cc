#include "cpu/runtime/pool.h"

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <exception>
#include <mutex>
#include <new>

#include "cpu/runtime/processors.h"
#include "cpu/runtime/thread.h"

namespace sigma::cpu {
namespace {

// One parallel_for in progress, on its caller's stack. The pool's mutex guards all members except `task` and `count`.
// The caller returns only when no thread works on the job.
struct Job {
  TaskRef task;
  int64_t count;
  int64_t next = 0;
  int64_t running = 0;
  std::exception_ptr error = nullptr;
  Job* after = nullptr;  // next job in the list

  bool exhausted() const { return next >= count; }
};

thread_local bool inside_task = false;
thread_local int works_held = 0;

class Pool {
 public:
  // Never destroyed: its threads may outlive static destructors when the process exits.
  static Pool& instance() {
    alignas(Pool) static std::byte memory[sizeof(Pool)];
    static Pool& pool = *new (memory) Pool;
    return pool;
  }

  void set_limit(int count) {
    const std::lock_guard lock(mutex_);
    limit_ = count;
    work_.notify_all();
  }

  int limit() {
    const std::lock_guard lock(mutex_);
    return limit_;
  }

  void enter() {
    const std::lock_guard lock(mutex_);
    ++callers_;
  }

  void leave() {
    const std::lock_guard lock(mutex_);
    --callers_;
    // A pool thread may now help another job.
    work_.notify_one();
  }

  void run(Job& job) {
    std::unique_lock lock(mutex_);
    const int64_t helpers = std::min<int64_t>(limit_, job.count) - 1;
    if (helpers > 0) {
      grow(helpers);
      append(job);
      for (int64_t i = 0; i < helpers; ++i) work_.notify_one();
    }
    work_on(job, lock);
    idle_.wait(lock, [&] { return job.running == 0; });
    if (helpers > 0) remove(job);
  }

 private:
  Pool() : limit_(usable_processors()), most_(std::clamp(4 * limit_, 16, 256)) {}

  // Creates threads on demand. If the system refuses a thread, the callers do the work themselves.
  void grow(int64_t wanted) {
    const auto body = [](void* pool) -> ThreadResult {
      static_cast<Pool*>(pool)->serve();
      return {};
    };
    while (made_ < std::min<int64_t>(wanted, most_)) {
      if (!start_thread(body, this)) return;
      ++made_;
    }
  }

  void append(Job& job) {
    Job** end = &jobs_;
    while (*end != nullptr) end = &(*end)->after;
    *end = &job;
  }

  void remove(const Job& job) {
    Job** at = &jobs_;
    while (*at != &job) at = &(*at)->after;
    *at = job.after;
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      Job* job = nullptr;
      work_.wait(lock, [&] { return active_ + callers_ < limit_ && (job = open_job()) != nullptr; });
      ++active_;
      work_on(*job, lock);
      --active_;
      idle_.notify_all();
    }
  }

  Job* open_job() {
    Job* job = jobs_;
    while (job != nullptr && job->exhausted()) job = job->after;
    return job;
  }

  // Runs tasks until none is left. Releases the lock during each task.
  void work_on(Job& job, std::unique_lock<std::mutex>& lock) {
    ++job.running;
    while (!job.exhausted()) {
      const int64_t index = job.next++;
      lock.unlock();
      std::exception_ptr error = nullptr;
      inside_task = true;
      try {
        job.task(index);
      } catch (...) {
        error = std::current_exception();
      }
      inside_task = false;
      lock.lock();
      if (error) {
        if (!job.error) job.error = error;
        job.next = job.count;
      }
    }
    --job.running;
  }

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable idle_;
  Job* jobs_ = nullptr;  // oldest first
  int limit_;
  const int most_;   // limit of pool threads: more than a few per processor are no faster
  int active_ = 0;   // pool threads at work
  int callers_ = 0;  // other threads at work
  int made_ = 0;     // pool threads alive
};

}  // namespace

AtWork::AtWork() {
  if (works_held++ == 0) Pool::instance().enter();
}

AtWork::~AtWork() {
  if (--works_held == 0) Pool::instance().leave();
}

void set_threads(int count) { Pool::instance().set_limit(count); }

int threads() noexcept { return Pool::instance().limit(); }

void parallel_for(int64_t count, TaskRef task) {
  if (inside_task || count <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  const AtWork here;
  Job job{.task = task, .count = count};
  Pool::instance().run(job);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace sigma::cpu
