// One call on the thread of the library for MPI, as a promise. A thread of libuv would have to wait for the other
// ranks, and a process that exits would wait for that thread.
#pragma once

#include <napi.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "args.h"
#include "contract/collective.h"
#include "contract/mpi.h"

namespace sigma {

// The open library; throws ArgumentError if there is none.
const sigma_mpi& mpi_library();

// A time-out; INFINITY for none.
double seconds_of(Args& args, size_t index);

class MpiCall {
 public:
  // May throw. Its `wait` has the call's time-out.
  using Work = std::function<void(MpiCall& call, sigma_wait& wait)>;

  explicit MpiCall(sigma_mpi_kind kind);
  // Runs `work` between the calls of MPI. The promise resolves with the bytes or the number that it gives, if any.
  explicit MpiCall(Work work);
  uint8_t* give_bytes(size_t count);
  void give_number(int64_t number);

  sigma_mpi_call& call() { return call_; }
  // The bytes of a typed array, which are copied; the result has `copies` times as many.
  void carry(Napi::TypedArray array, size_t copies);

  static Napi::Value start(Args& args, const char* name, std::unique_ptr<MpiCall> self);

 private:
  void work(void (*progress)(void*), void* world) noexcept;
  void fail(sigma_mpi_outcome outcome, const char* message) noexcept;
  void settle(napi_env env) noexcept;
  bool value_of(napi_env env, napi_value* result) const noexcept;

  sigma_mpi_call call_{};
  Work work_;
  bool has_array_ = false, has_number_ = false;
  std::vector<uint8_t> input_;
  std::vector<uint8_t> output_;
  napi_typedarray_type type_ = napi_uint8_array;
  std::string op_;
  napi_threadsafe_function function_ = nullptr;
  napi_ref self_ = nullptr;
  napi_deferred deferred_ = nullptr;
};

}  // namespace sigma
