// Opens the library that is compiled against the machine's MPI, and runs its calls. The addon itself has no symbol of
// MPI.
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "bind.h"
#include "library.h"
#include "mpi_call.h"

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

}  // namespace

const sigma_mpi& mpi_library() {
  const sigma_mpi* const table = opened.load();
  if (table == nullptr) throw ArgumentError("MPI: expected an open library");
  return *table;
}

namespace {

Napi::TypedArray array_of(Args& args, size_t index) {
  if (!args.value(index).IsTypedArray()) throw ArgumentError("data: expected a typed array");
  return args.value(index).As<Napi::TypedArray>();
}

// mpiStart(): Promise<void>
Napi::Value mpi_start(Args& args) {
  return MpiCall::start(args, "mpiStart", std::make_unique<MpiCall>(SIGMA_MPI_START));
}

Napi::Value mpi_rank(Args& args) { return Napi::Number::New(args.env(), mpi_library().rank()); }

Napi::Value mpi_size(Args& args) { return Napi::Number::New(args.env(), mpi_library().size()); }

// mpiGather(bytes, seconds): Promise of (size, length) bytes
Napi::Value mpi_gather(Args& args) {
  auto call = std::make_unique<MpiCall>(SIGMA_MPI_GATHER);
  call->carry(array_of(args, 0), static_cast<size_t>(mpi_library().size()));
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
  if (root >= mpi_library().size()) throw ArgumentError("root: expected a rank");
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

// mpiFinish(seconds): Promise<void>
Napi::Value mpi_finish(Args& args) {
  auto call = std::make_unique<MpiCall>(SIGMA_MPI_FINISH);
  call->call().seconds = seconds_of(args, 0);
  return MpiCall::start(args, "mpiFinish", std::move(call));
}

// mpiLeave(bytes, seconds): whether the world is finished; waits
Napi::Value mpi_leave(Args& args) {
  const Napi::TypedArray bytes = array_of(args, 0);
  const auto* const first = static_cast<const uint8_t*>(bytes.ArrayBuffer().Data()) + bytes.ByteOffset();
  const auto length = static_cast<int64_t>(bytes.ByteLength());
  return Napi::Boolean::New(args.env(), mpi_library().leave(first, length, seconds_of(args, 1)) != 0);
}

// mpiAbandon(code, seconds): ends the job; waits
Napi::Value mpi_abandon(Args& args) {
  mpi_library().abandon(static_cast<int32_t>(args.integer(0, "code")), seconds_of(args, 1));
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
