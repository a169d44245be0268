#include "mpi_call.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <new>
#include <utility>

namespace sigma {
namespace {

void require(napi_status status) {
  if (status != napi_ok) throw std::runtime_error("Node failed to start an asynchronous call");
}

}  // namespace

double seconds_of(Args& args, size_t index) {
  const double seconds = args.value(index).IsNumber() ? args.value(index).As<Napi::Number>().DoubleValue() : NAN;
  if (!(seconds >= 0)) throw ArgumentError("seconds: expected a number of at least 0");
  return seconds;
}

MpiCall::MpiCall(sigma_mpi_kind kind) {
  call_.kind = kind;
  has_number_ = kind == SIGMA_MPI_CLAIM;
}

MpiCall::MpiCall(Work work) : MpiCall(SIGMA_MPI_RUN) {
  work_ = std::move(work);
  call_.work = [](sigma_mpi_call* call, void (*progress)(void*), void* world) {
    static_cast<MpiCall*>(call->owner)->work(progress, world);
  };
}

uint8_t* MpiCall::give_bytes(size_t count) {
  has_array_ = true;
  output_.resize(count);
  return output_.data();
}

void MpiCall::give_number(int64_t number) {
  has_number_ = true;
  call_.value = number;
}

void MpiCall::carry(Napi::TypedArray array, size_t copies) {
  type_ = array.TypedArrayType();
  const auto* const first = static_cast<const uint8_t*>(array.ArrayBuffer().Data());
  const size_t length = array.ByteLength();
  // A detached or empty buffer has no address.
  if (first != nullptr && length > 0) input_.assign(first + array.ByteOffset(), first + array.ByteOffset() + length);
  output_.resize(input_.size() * copies);
  has_array_ = true;
  call_.length = static_cast<int64_t>(input_.size());
  call_.input = input_.data();
  call_.output = output_.data();
}

Napi::Value MpiCall::start(Args& args, const char* name, std::unique_ptr<MpiCall> self) {
  const Caller caller = args.caller(name);
  const Napi::Env env = args.env();
  const sigma_mpi& mpi = mpi_library();
  self->op_ = caller.op;
  napi_value resource = Napi::String::New(env, name);
  const auto settled = [](napi_env settled_env, napi_value, void*, void* data) {
    const std::unique_ptr<MpiCall> done(static_cast<MpiCall*>(data));
    // Null while the environment is torn down.
    if (settled_env != nullptr) done->settle(settled_env);
  };
  require(napi_create_threadsafe_function(env, nullptr, nullptr, resource, 0, 1, nullptr, nullptr, nullptr, settled,
                                          &self->function_));
  napi_value promise = nullptr;
  require(napi_create_reference(env, caller.self, 1, &self->self_));
  require(napi_create_promise(env, &self->deferred_, &promise));
  MpiCall* const queued = self.release();
  queued->call_.owner = queued;
  queued->call_.done = [](sigma_mpi_call* call) {
    auto* const it = static_cast<MpiCall*>(call->owner);
    const napi_threadsafe_function function = it->function_;
    const napi_status status = napi_call_threadsafe_function(function, it, napi_tsfn_nonblocking);
    if (status == napi_closing) return;  // no one waits any more, and the function must not be touched
    napi_release_threadsafe_function(function, napi_tsfn_release);
  };
  mpi.submit(&queued->call_);
  return {env, promise};
}

void MpiCall::fail(sigma_mpi_outcome outcome, const char* message) noexcept {
  call_.outcome = outcome;
  std::snprintf(call_.message, sizeof(call_.message), "%s", message);
}

void MpiCall::work(void (*progress)(void*), void* world) noexcept {
  sigma_wait wait = {.seconds = call_.seconds, .progress = progress, .caller = world, .timed_out = 0};
  try {
    work_(*this, wait);
  } catch (const BackendError& error) {
    const bool is_memory = error.status() == SIGMA_OUT_OF_MEMORY;
    fail(wait.timed_out != 0 ? SIGMA_MPI_TIMED_OUT : is_memory ? SIGMA_MPI_NO_MEMORY : SIGMA_MPI_FAILED, error.what());
  } catch (const std::bad_alloc&) {
    fail(SIGMA_MPI_NO_MEMORY, "not enough host memory for this call");
  } catch (const std::exception& error) {
    fail(SIGMA_MPI_FAILED, error.what());
  } catch (...) {
    fail(SIGMA_MPI_FAILED, "unknown failure");
  }
}

void MpiCall::settle(napi_env env) noexcept {
  napi_value self = nullptr;
  napi_value result = nullptr;
  napi_get_reference_value(env, self_, &self);
  napi_delete_reference(env, self_);
  if (call_.outcome == SIGMA_MPI_DONE) {
    if (value_of(env, &result)) {
      napi_resolve_deferred(env, deferred_, result);
      return;
    }
    fail(SIGMA_MPI_NO_MEMORY, "not enough memory for the result");
  }
  const char* const code = call_.outcome == SIGMA_MPI_TIMED_OUT   ? "TIMED_OUT"
                           : call_.outcome == SIGMA_MPI_NO_MEMORY ? "OUT_OF_MEMORY"
                                                                  : "NATIVE";
  if (make_error(env, {self, op_}, code, call_.message, nullptr, &result) == napi_ok) {
    napi_reject_deferred(env, deferred_, result);
  }
}

bool MpiCall::value_of(napi_env env, napi_value* result) const noexcept {
  if (has_number_) return napi_create_double(env, static_cast<double>(call_.value), result) == napi_ok;
  if (!has_array_) return napi_get_undefined(env, result) == napi_ok;
  void* memory = nullptr;
  napi_value buffer = nullptr;
  if (napi_create_arraybuffer(env, output_.size(), &memory, &buffer) != napi_ok) return false;
  if (!output_.empty()) std::memcpy(memory, output_.data(), output_.size());
  const size_t element = type_ == napi_float64_array ? 8 : type_ == napi_float32_array ? 4 : 1;
  return napi_create_typedarray(env, type_, output_.size() / element, buffer, 0, result) == napi_ok;
}

}  // namespace sigma
