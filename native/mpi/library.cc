// The library's thread and its queue, and the table that the addon calls.
#include <mpi.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <deque>
#include <limits>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <thread>

#include "contract/mpi.h"
#include "mpi/failure.h"
#include "mpi/world.h"

namespace sigma::mpi {
namespace {

using Clock = std::chrono::steady_clock;

// An idle world looks for messages this often.
constexpr auto kIdle = std::chrono::milliseconds(1);
// How long an abort waits for a launcher to read.
constexpr auto kDrain = std::chrono::seconds(1);

class Library {
 public:
  // Never destroyed: the thread may outlive main.
  static Library& instance() {
    static Library& library = *new Library;
    return library;
  }

  const World& world() const { return world_; }

  void submit(sigma_mpi_call* call) {
    const std::lock_guard lock(mutex_);
    queue_.push_back(call);
    if (!has_thread_) {
      has_thread_ = true;
      try {
        std::thread([this] { serve(); }).detach();
      } catch (const std::exception&) {
        has_thread_ = false;
        queue_.pop_back();
        tell(*call, SIGMA_MPI_FAILED, "the system refused another thread");
        call->done(call);
        return;
      }
    }
    changed_.notify_all();
  }

  bool leave(const void* input, int64_t length, double seconds) {
    std::unique_lock lock(mutex_);
    if (!has_thread_ || is_finished_) return true;
    if (is_broken_ || is_busy_ || !queue_.empty()) return false;
    // The call stays valid if no one waits for its end.
    const auto* const first = static_cast<const char*>(input);
    static const std::string& bytes = *new std::string(first, first + length);
    static sigma_mpi_call& call = *new sigma_mpi_call{};
    call.kind = SIGMA_MPI_FINISH;
    call.input = bytes.data();
    call.length = length;
    call.seconds = seconds;
    call.done = [](sigma_mpi_call*) {};
    queue_.push_back(&call);
    changed_.notify_all();
    // MPI_Finalize itself has no time-out.
    changed_.wait_for(lock, duration(seconds), [this] { return is_finished_ || is_broken_; });
    return is_finished_;
  }

  void abandon(int32_t code, double seconds) {
    drain_errors();
    std::unique_lock lock(mutex_);
    if (!has_thread_ || is_finished_) return;
    abandoned_ = code;
    changed_.notify_all();
    changed_.wait_for(lock, duration(seconds), [this] { return is_finished_; });
  }

 private:
  static std::chrono::duration<double> duration(double seconds) { return std::chrono::duration<double>(seconds); }

  // Waits until the launcher has read what this process wrote to stderr: at MPI_Abort, MPICH's may drop the rest.
  static void drain_errors() {
    struct stat status {};
    if (fstat(STDERR_FILENO, &status) != 0 || !S_ISFIFO(status.st_mode)) return;
    for (const auto end = Clock::now() + kDrain; Clock::now() < end; std::this_thread::sleep_for(kIdle)) {
      int unread = 0;
      if (ioctl(STDERR_FILENO, FIONREAD, &unread) != 0 || unread == 0) return;
    }
  }

  static void tell(sigma_mpi_call& call, sigma_mpi_outcome outcome, const char* message) {
    call.outcome = outcome;
    std::snprintf(call.message, sizeof call.message, "%s", message);
  }

  // The thread: runs calls in their order, and keeps MPI moving between them.
  void serve() noexcept {
    std::unique_lock lock(mutex_);
    while (!is_finished_) {
      abort_if_abandoned(lock);
      if (queue_.empty()) {
        if (!world_.is_running() || world_.size() == 1 || is_broken_) {
          changed_.wait(lock, [this] { return !queue_.empty() || abandoned_; });
        } else {
          lock.unlock();
          try {
            world_.progress();
            lock.lock();
          } catch (const std::exception& error) {
            lock.lock();
            break_off(error.what());
          }
          changed_.wait_for(lock, kIdle, [this] { return !queue_.empty() || abandoned_; });
        }
        continue;
      }
      sigma_mpi_call* const call = queue_.front();
      queue_.pop_front();
      is_busy_ = true;
      lock.unlock();
      run(*call);
      lock.lock();
      is_busy_ = false;
      is_finished_ = call->kind == SIGMA_MPI_FINISH && call->outcome == SIGMA_MPI_DONE;
      const bool breaks = call->outcome == SIGMA_MPI_TIMED_OUT || call->outcome == SIGMA_MPI_FAILED;
      if (breaks) break_off(call->message);
      changed_.notify_all();
      lock.unlock();
      call->done(call);
      lock.lock();
    }
    // What was queued after the end.
    while (!queue_.empty()) {
      sigma_mpi_call* const call = queue_.front();
      queue_.pop_front();
      lock.unlock();
      tell(*call, SIGMA_MPI_FAILED, "the world is finalized");
      call->done(call);
      lock.lock();
    }
    has_thread_ = false;
  }

  void run(sigma_mpi_call& call) noexcept {
    if (is_broken_) return tell(call, SIGMA_MPI_FAILED, broken_.c_str());
    try {
      call.outcome = SIGMA_MPI_DONE;
      world_.run(call);
    } catch (const TimedOut&) {
      tell(call, SIGMA_MPI_TIMED_OUT, "not all ranks took part in time");
    } catch (const std::bad_alloc&) {
      tell(call, SIGMA_MPI_NO_MEMORY, "not enough memory for this call");
    } catch (const std::exception& error) {
      tell(call, SIGMA_MPI_FAILED, error.what());
    } catch (...) {
      tell(call, SIGMA_MPI_FAILED, "unknown failure");
    }
  }

  void break_off(const char* reason) {
    if (is_broken_) return;
    is_broken_ = true;
    try {
      broken_ = std::string("an earlier call failed (") + reason + "), so the ranks may not agree on what comes next";
    } catch (...) {
      broken_.clear();
    }
  }

  // MPI_Abort does not return, or leaves the process within moments.
  void abort_if_abandoned(std::unique_lock<std::mutex>& lock) {
    if (!abandoned_ || has_aborted_) return;
    has_aborted_ = true;
    const int code = *abandoned_;
    lock.unlock();
    if (world_.is_running()) MPI_Abort(MPI_COMM_WORLD, code);
    lock.lock();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<sigma_mpi_call*> queue_;
  bool has_thread_ = false;
  bool is_busy_ = false;
  bool is_finished_ = false;
  bool has_aborted_ = false;
  std::atomic<bool> is_broken_ = false;
  std::string broken_;  // written before is_broken_ is read by the thread: it writes both
  std::optional<int32_t> abandoned_;
  World world_{[this] {
    std::unique_lock lock(mutex_);
    abort_if_abandoned(lock);
  }};
};

const char* library_text() {
  static char text[MPI_MAX_LIBRARY_VERSION_STRING] = {};
  static std::once_flag once;
  std::call_once(once, [] {
    int length = 0;
    // One of the few functions that may be called before MPI_Init.
    if (MPI_Get_library_version(text, &length) != MPI_SUCCESS) length = 0;
    text[length] = 0;
    for (char* at = text; *at != 0; ++at) {
      if (*at == '\t') *at = ' ';
      if (*at == '\n') *at = 0;
    }
  });
  return text;
}

constexpr sigma_mpi kTable = {
    .version = SIGMA_MPI_VERSION,
    .struct_size = sizeof(sigma_mpi),
    .library = library_text,
    .rank = [] { return static_cast<int32_t>(Library::instance().world().rank()); },
    .size = [] { return static_cast<int32_t>(Library::instance().world().size()); },
    .submit = [](sigma_mpi_call* call) { Library::instance().submit(call); },
    .leave = [](const void* input, int64_t length,
                double seconds) { return Library::instance().leave(input, length, seconds) ? 1 : 0; },
    .abandon = [](int32_t code, double seconds) { Library::instance().abandon(code, seconds); }};

}  // namespace
}  // namespace sigma::mpi

extern "C" __attribute__((visibility("default"))) const sigma_mpi* sigma_open_mpi(uint32_t version) {
  return version == SIGMA_MPI_VERSION ? &sigma::mpi::kTable : nullptr;
}
