#include "task.h"

#include <new>
#include <utility>

namespace sigma {
namespace {

void require(napi_status status) {
  if (status != napi_ok) throw std::runtime_error("Node failed to start an asynchronous call");
}

}  // namespace

Napi::Value Task::start(Napi::Env env, const Caller& caller, std::unique_ptr<Task> task, Napi::Value alive) {
  napi_value name = nullptr;
  napi_value promise = nullptr;
  task->op_ = caller.op;
  task->counted_.emplace(env.GetInstanceData<Environment>()->tasks);
  require(napi_create_string_utf8(env, caller.op.c_str(), NAPI_AUTO_LENGTH, &name));
  const auto execute = [](napi_env, void* data) { static_cast<Task*>(data)->execute(); };
  const auto complete = [](napi_env settled_env, napi_status, void* data) {
    const std::unique_ptr<Task> done(static_cast<Task*>(data));
    done->settle(settled_env);
  };
  require(napi_create_async_work(env, nullptr, name, execute, complete, task.get(), &task->work_));
  require(napi_create_reference(env, caller.self, 1, &task->self_));
  require(napi_create_reference(env, alive, 1, &task->alive_));
  require(napi_create_promise(env, &task->deferred_, &promise));
  require(napi_queue_async_work(env, task->work_));
  task.release();
  return {env, promise};
}

void Task::finish(Task& task) {
  const Outcome outcome = task.run();
  if (outcome.status != SIGMA_OK) throw BackendError(outcome.status, outcome.message.c_str());
}

void Task::execute() noexcept {
  try {
    outcome_ = run();
  } catch (const std::bad_alloc&) {
    outcome_.status = SIGMA_OUT_OF_MEMORY;
  } catch (...) {
    outcome_.status = SIGMA_NATIVE;
  }
}

// Calls fail only while the environment is torn down. No one then waits for the promise, so failures are ignored.
void Task::settle(napi_env env) noexcept {
  napi_value self = nullptr;
  napi_get_reference_value(env, self_, &self);
  napi_delete_reference(env, self_);
  napi_delete_reference(env, alive_);
  napi_delete_async_work(env, work_);
  napi_value result = nullptr;
  if (outcome_.status == SIGMA_OK) {
    if (napi_get_undefined(env, &result) == napi_ok) napi_resolve_deferred(env, deferred_, result);
    return;
  }
  napi_value detail = nullptr;
  const bool made =
      napi_create_double(env, static_cast<double>(outcome_.failed), &detail) == napi_ok &&
      make_error(env, {self, op_}, error_code(outcome_.status), outcome_.message.c_str(), detail, &result) == napi_ok;
  if (made) napi_reject_deferred(env, deferred_, result);
}

}  // namespace sigma
