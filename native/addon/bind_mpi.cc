// Opens the library that is compiled against the machine's MPI, and runs its calls. The addon itself has no symbol of
// MPI.
#include <atomic>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "args.h"
#include "bind.h"
#include "contract/mpi.h"
#include "library.h"

namespace sigma {
namespace {

// The library of this process: the first that was opened. Never closed.
std::atomic<const sigma_mpi*> opened = nullptr;

// mpiOpen(path): { loadError?, library? }
Napi::Value mpi_open(Args& args) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  if (!args.value(0).IsString()) throw ArgumentError("path: expected a string");
  const std::string path = args.value(0).As<Napi::String>().Utf8Value();
  Napi::Object status = Napi::Object::New(args.env());
  std::string error;
  void* const symbol = library_symbol(path, SIGMA_OPEN_MPI, error);
  if (symbol == nullptr) {
    status.Set("loadError", error);
    return status;
  }
  const sigma_mpi* const table = reinterpret_cast<sigma_open_mpi_function>(symbol)(SIGMA_MPI_VERSION);
  if (table == nullptr || table->version != SIGMA_MPI_VERSION || table->struct_size != sizeof(*table)) return status;
  const sigma_mpi* none = nullptr;
  if (!opened.compare_exchange_strong(none, table) && none != table) {
    status.Set("loadError", "another library for MPI is already open in this process");
    return status;
  }
  status.Set("library", table->library());
  return status;
}

const sigma_mpi& library() {
  const sigma_mpi* const table = opened.load();
  if (table == nullptr) throw ArgumentError("MPI: expected an open library");
  return *table;
}

// One call on the library's thread, as a promise. A thread of libuv would have to wait for the other ranks, and a
// process that exits would wait for that thread.
class MpiCall {
 public:
  explicit MpiCall(sigma_mpi_kind kind) {
    call_.kind = kind;
    call_.seconds = INFINITY;
  }

  sigma_mpi_call& call() { return call_; }

  // The bytes of a typed array, which are copied; the result has `copies` times as many.
  void carry(Napi::TypedArray array, size_t copies) {
    type_ = array.TypedArrayType();
    const auto* const first = static_cast<const uint8_t*>(array.ArrayBuffer().Data());
    const size_t length = array.ByteLength();
    // A detached or empty buffer has no address.
    if (first != nullptr && length > 0) input_.assign(first + array.ByteOffset(), first + array.ByteOffset() + length);
    output_.resize(input_.size() * copies);
    call_.length = static_cast<int64_t>(input_.size());
    call_.input = input_.data();
    call_.output = output_.data();
  }

  static Napi::Value start(Args& args, const char* name, std::unique_ptr<MpiCall> self) {
    const Caller caller = args.caller(name);
    const Napi::Env env = args.env();
    const sigma_mpi& mpi = library();
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

 private:
  static void require(napi_status status) {
    if (status != napi_ok) throw std::runtime_error("Node failed to start an asynchronous call");
  }

  void settle(napi_env env) noexcept {
    napi_value self = nullptr;
    napi_value result = nullptr;
    napi_get_reference_value(env, self_, &self);
    napi_delete_reference(env, self_);
    if (call_.outcome == SIGMA_MPI_DONE) {
      if (value_of(env, &result)) {
        napi_resolve_deferred(env, deferred_, result);
        return;
      }
      call_.outcome = SIGMA_MPI_NO_MEMORY;
      std::strcpy(call_.message, "not enough memory for the result");
    }
    const char* const code = call_.outcome == SIGMA_MPI_TIMED_OUT   ? "TIMED_OUT"
                             : call_.outcome == SIGMA_MPI_NO_MEMORY ? "OUT_OF_MEMORY"
                                                                    : "NATIVE";
    if (make_error(env, {self, op_}, code, call_.message, nullptr, &result) == napi_ok) {
      napi_reject_deferred(env, deferred_, result);
    }
  }

  bool value_of(napi_env env, napi_value* result) const noexcept {
    if (call_.kind == SIGMA_MPI_CLAIM) {
      return napi_create_double(env, static_cast<double>(call_.value), result) == napi_ok;
    }
    if (!carries()) {
      return napi_get_undefined(env, result) == napi_ok;
    }
    void* memory = nullptr;
    napi_value buffer = nullptr;
    if (napi_create_arraybuffer(env, output_.size(), &memory, &buffer) != napi_ok) return false;
    if (!output_.empty()) std::memcpy(memory, output_.data(), output_.size());
    const size_t element = type_ == napi_float64_array ? 8 : type_ == napi_float32_array ? 4 : 1;
    return napi_create_typedarray(env, type_, output_.size() / element, buffer, 0, result) == napi_ok;
  }

  bool carries() const {
    return call_.kind == SIGMA_MPI_GATHER || call_.kind == SIGMA_MPI_MEAN || call_.kind == SIGMA_MPI_BROADCAST;
  }

  sigma_mpi_call call_{};
  std::vector<uint8_t> input_;
  std::vector<uint8_t> output_;
  napi_typedarray_type type_ = napi_uint8_array;
  std::string op_;
  napi_threadsafe_function function_ = nullptr;
  napi_ref self_ = nullptr;
  napi_deferred deferred_ = nullptr;
};

double seconds_of(Args& args, size_t index) {
  const double seconds = args.value(index).IsNumber() ? args.value(index).As<Napi::Number>().DoubleValue() : NAN;
  if (!(seconds >= 0)) throw ArgumentError("seconds: expected a number of at least 0");
  return seconds;
}

Napi::TypedArray array_of(Args& args, size_t index) {
  if (!args.value(index).IsTypedArray()) throw ArgumentError("data: expected a typed array");
  return args.value(index).As<Napi::TypedArray>();
}

// mpiStart(): Promise<void>
Napi::Value mpi_start(Args& args) {
  return MpiCall::start(args, "mpiStart", std::make_unique<MpiCall>(SIGMA_MPI_START));
}

Napi::Value mpi_rank(Args& args) { return Napi::Number::New(args.env(), library().rank()); }

Napi::Value mpi_size(Args& args) { return Napi::Number::New(args.env(), library().size()); }

// mpiGather(bytes, seconds): Promise of (size, length) bytes
Napi::Value mpi_gather(Args& args) {
  auto call = std::make_unique<MpiCall>(SIGMA_MPI_GATHER);
  call->carry(array_of(args, 0), static_cast<size_t>(library().size()));
  call->call().seconds = seconds_of(args, 1);
  return MpiCall::start(args, "mpiGather", std::move(call));
}

// mpiMean(numbers, seconds): Promise of an array of the same type and length
Napi::Value mpi_mean(Args& args) {
  auto call = std::make_unique<MpiCall>(SIGMA_MPI_MEAN);
  const Napi::TypedArray numbers = array_of(args, 0);
  const napi_typedarray_type type = numbers.TypedArrayType();
  if (type != napi_float32_array && type != napi_float64_array) throw ArgumentError("numbers: expected real numbers");
  call->carry(numbers, 1);
  call->call().real = type == napi_float64_array ? SIGMA_REAL64 : SIGMA_REAL32;
  call->call().seconds = seconds_of(args, 1);
  return MpiCall::start(args, "mpiMean", std::move(call));
}

// mpiBroadcast(bytes, root, seconds): Promise of as many bytes
Napi::Value mpi_broadcast(Args& args) {
  auto call = std::make_unique<MpiCall>(SIGMA_MPI_BROADCAST);
  call->carry(array_of(args, 0), 1);
  const int64_t root = args.integer(1, "root");
  if (root >= library().size()) throw ArgumentError("root: expected a rank");
  call->call().root = static_cast<int32_t>(root);
  call->call().seconds = seconds_of(args, 2);
  return MpiCall::start(args, "mpiBroadcast", std::move(call));
}

// mpiReset(): Promise<void>
Napi::Value mpi_reset(Args& args) {
  return MpiCall::start(args, "mpiReset", std::make_unique<MpiCall>(SIGMA_MPI_RESET));
}

// mpiClaim(amount, seconds): Promise<number>
Napi::Value mpi_claim(Args& args) {
  auto call = std::make_unique<MpiCall>(SIGMA_MPI_CLAIM);
  call->call().amount = args.integer(0, "amount");
  call->call().seconds = seconds_of(args, 1);
  return MpiCall::start(args, "mpiClaim", std::move(call));
}

// mpiFinish(bytes, seconds): Promise<void>
Napi::Value mpi_finish(Args& args) {
  auto call = std::make_unique<MpiCall>(SIGMA_MPI_FINISH);
  call->carry(array_of(args, 0), 0);
  call->call().seconds = seconds_of(args, 1);
  return MpiCall::start(args, "mpiFinish", std::move(call));
}

// mpiLeave(bytes, seconds): whether the world is finished; waits
Napi::Value mpi_leave(Args& args) {
  const Napi::TypedArray bytes = array_of(args, 0);
  const auto* const first = static_cast<const uint8_t*>(bytes.ArrayBuffer().Data()) + bytes.ByteOffset();
  const auto length = static_cast<int64_t>(bytes.ByteLength());
  return Napi::Boolean::New(args.env(), library().leave(first, length, seconds_of(args, 1)) != 0);
}

// mpiAbandon(code, seconds): ends the job; waits
Napi::Value mpi_abandon(Args& args) {
  library().abandon(static_cast<int32_t>(args.integer(0, "code") & 0xff), seconds_of(args, 1));
  return args.env().Undefined();
}

}  // namespace

void bind_mpi(Napi::Object exports) {
  export_function<mpi_open>(exports, "mpiOpen");
  export_function<mpi_start>(exports, "mpiStart");
  export_function<mpi_rank>(exports, "mpiRank");
  export_function<mpi_size>(exports, "mpiSize");
  export_function<mpi_gather>(exports, "mpiGather");
  export_function<mpi_mean>(exports, "mpiMean");
  export_function<mpi_broadcast>(exports, "mpiBroadcast");
  export_function<mpi_reset>(exports, "mpiReset");
  export_function<mpi_claim>(exports, "mpiClaim");
  export_function<mpi_finish>(exports, "mpiFinish");
  export_function<mpi_leave>(exports, "mpiLeave");
  export_function<mpi_abandon>(exports, "mpiAbandon");
}

}  // namespace sigma
