#include "pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

namespace sigma::cpu {
namespace {

// One parallel_for in progress. It lives on its caller's stack: all members but `task` and `count` are guarded by the
// pool's mutex, and the caller leaves only when nobody works on it any more.
struct Job {
  const std::function<void(int64_t)>* task;
  int64_t count;
  int64_t next = 0;
  int64_t running = 0;
  std::exception_ptr error = nullptr;

  bool exhausted() const { return next >= count; }
};

thread_local bool inside_task = false;
thread_local int works_held = 0;

class Pool {
 public:
  // Never destroyed: its threads may outlive static destructors when the process exits.
  static Pool& instance() {
    static Pool* const pool = new Pool;
    return *pool;
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
    // A place is free for another job's helper.
    work_.notify_one();
  }

  void run(Job& job) {
    std::unique_lock lock(mutex_);
    const int64_t helpers = std::min<int64_t>(limit_, job.count) - 1;
    if (helpers > 0) {
      grow(helpers);
      jobs_.push_back(&job);
      for (int64_t i = 0; i < helpers; ++i) work_.notify_one();
    }
    work_on(job, lock);
    idle_.wait(lock, [&] { return job.running == 0; });
    std::erase(jobs_, &job);
  }

 private:
  Pool() : limit_(std::max(1, static_cast<int>(std::thread::hardware_concurrency()))) {}

  // Threads are made on first need. Where the system refuses one, the callers do the work themselves.
  void grow(int64_t wanted) {
    try {
      while (made_ < wanted) {
        std::thread([this] { serve(); }).detach();
        ++made_;
      }
    } catch (const std::system_error&) {
    }
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
    const auto found = std::find_if(jobs_.begin(), jobs_.end(), [](const Job* job) { return !job->exhausted(); });
    return found == jobs_.end() ? nullptr : *found;
  }

  // Takes tasks until none is left; the lock is held but for the tasks themselves.
  void work_on(Job& job, std::unique_lock<std::mutex>& lock) {
    ++job.running;
    while (!job.exhausted()) {
      const int64_t index = job.next++;
      lock.unlock();
      std::exception_ptr error = nullptr;
      inside_task = true;
      try {
        (*job.task)(index);
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
  std::deque<Job*> jobs_;
  int limit_;
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

void parallel_for(int64_t count, const std::function<void(int64_t)>& task) {
  if (inside_task || count <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  const AtWork here;
  Job job{.task = &task, .count = count};
  Pool::instance().run(job);
  if (job.error) std::rethrow_exception(job.error);
}

}  // namespace sigma::cpu
