// One asynchronous call: it runs off the event loop and always settles its promise, unless the environment is gone
// by then. Written against the plain Node-API: while an environment is torn down every call into it fails, and the C++
// wrappers would throw from where nobody can catch.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>

#include "environment.h"

namespace sigma {

class Task {
 public:
  Task() = default;
  Task(const Task&) = delete;
  Task& operator=(const Task&) = delete;
  virtual ~Task() = default;

  // Queues the task for its caller. `alive` is held until it has settled.
  static Napi::Value start(Napi::Env env, const Caller& caller, std::unique_ptr<Task> task, Napi::Value alive);

 protected:
  struct Outcome {
    sigma_status status = SIGMA_OK;
    std::string message;
    int64_t failed = 0;  // which part of the work, for the error's detail
  };

  // The work, on another thread.
  virtual Outcome run() = 0;

 private:
  void execute() noexcept;
  void settle(napi_env env) noexcept;

  std::string op_;
  napi_deferred deferred_ = nullptr;
  napi_ref self_ = nullptr;
  napi_ref alive_ = nullptr;
  napi_async_work work_ = nullptr;
  Outcome outcome_;
};

}  // namespace sigma
