// One asynchronous call: runs off the event loop and settles its promise, unless the environment is gone by then. Uses
// the plain C Node-API: while an environment is torn down every call fails, and the C++ wrappers would throw uncaught.
// `finish` runs the same call at once.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "environment.h"

namespace sigma {

class Task {
 public:
  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;

  // Queues the task. Keeps `alive` referenced until the promise settles.
  static Napi::Value start(Napi::Env env, const Caller& caller, std::unique_ptr<Task> task, Napi::Value alive);

  // Runs the task on the calling thread. Throws a BackendError if it fails.
  static void finish(Task& task);

 protected:
  struct Outcome {
    sigma_status status = SIGMA_OK;
    std::string message;
    int64_t failed = 0;  // index of the failed item, the error's detail
  };

  // Does the work. `start` runs it on another thread.
  virtual Outcome run() = 0;

 private:
  void execute() noexcept;
  void settle(napi_env env) noexcept;

  // Counts a task of an environment. Both ends are on its thread.
  class Counted {
   public:
    explicit Counted(std::shared_ptr<int> count) : count_(std::move(count)) { ++*count_; }
    ~Counted() { --*count_; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;

   private:
    std::shared_ptr<int> count_;
  };

  std::string op_;
  std::optional<Counted> counted_;
  napi_deferred deferred_ = nullptr;
  napi_ref self_ = nullptr;
  napi_ref alive_ = nullptr;
  napi_async_work work_ = nullptr;
  Outcome outcome_;
};

}  // namespace sigma
