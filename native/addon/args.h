// Converts JavaScript arguments to views of memory, and checks them. No other code reads arguments.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>

#include "environment.h"
#include "memory.h"
#include "pattern.h"

namespace sigma {

// The numbers of an operand, in a typed array or in device memory. Valid during the call only.
struct View {
  void* data = nullptr;
  int64_t length = 0;
  sigma_dtype dtype = SIGMA_FLOAT32;
  std::shared_ptr<DeviceBlock> block = nullptr;  // owns device memory; null on the host
};

struct Int32View {
  const int32_t* data = nullptr;
  int64_t length = 0;
};

Int32View int32_view(Napi::Value value, const char* name);

// An integer from `least` to 2^53 - 1.
int64_t integer_of(Napi::Value value, const char* name, int64_t least);

// The operands of one call. The first operand sets the place for all, and the type of the vectors: float64 for a
// float64 operand, otherwise float32. All matrices must go with that type. The backend checks their own types.
class Operands {
 public:
  explicit Operands(const Environment& environment) : place_(environment.cpu) {}

  sigma_real real() const { return real_; }
  const std::shared_ptr<Place>& place() const { return place_; }
  // An operand of any length.
  View any(Napi::Value value, const char* name);
  // A dense matrix (rows, columns) of any type, or of `dtype`.
  sigma_matrix matrix(Napi::Value value, const char* name, int64_t rows, int64_t columns);
  sigma_matrix matrix(Napi::Value value, const char* name, int64_t rows, int64_t columns, sigma_dtype dtype);
  void* vector(Napi::Value value, const char* name, int64_t length);
  // A vector of any length.
  View vector(Napi::Value value, const char* name);
  // `length` numbers, starting at `first`.
  View part(Napi::Value value, const char* name, int64_t first, int64_t length);

 private:
  sigma_real real_ = SIGMA_REAL32;
  std::shared_ptr<Place> place_;
  bool known_ = false;
};

inline bool is_absent(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  return napi_typeof(env, value, &type) != napi_ok || type == napi_undefined || type == napi_null;
}

// The arguments of one call. The first names the public function that calls; `index` counts the others from 0.
class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info)
      : info_(info), environment_(*info.Env().GetInstanceData<Environment>()), operands_(environment_) {}

  Napi::Env env() const { return info_.Env(); }
  Caller caller(const char* name) const;
  Napi::Value value(size_t index) const { return info_[index + 1]; }
  // The place, and the type of the vectors, of the operands read so far.
  Engine engine() const { return operands_.place()->engine(); }
  sigma_real real() const { return operands_.real(); }
  Operands& operands() { return operands_; }
  const sigma_backend& cpu() const { return *environment_.cpu->backend; }
  Environment& environment() const { return environment_; }

  // A matrix without padding.
  sigma_matrix matrix(size_t index, const char* name, int64_t rows, int64_t columns) {
    return operands_.matrix(value(index), name, rows, columns);
  }
  // The data of a matrix of type `dtype`.
  void* matrix_of(sigma_dtype dtype, size_t index, const char* name, int64_t rows, int64_t columns) {
    return operands_.matrix(value(index), name, rows, columns, dtype).data;
  }
  void* vector(size_t index, const char* name, int64_t length) { return operands_.vector(value(index), name, length); }
  // As above; null for null and undefined.
  void* optional_matrix_of(sigma_dtype dtype, size_t index, const char* name, int64_t rows, int64_t columns) {
    return is_absent(index) ? nullptr : matrix_of(dtype, index, name, rows, columns);
  }
  void* optional_vector(size_t index, const char* name, int64_t length) {
    return is_absent(index) ? nullptr : vector(index, name, length);
  }
  // `length` numbers, starting at `first`.
  View part(size_t index, const char* name, int64_t first, int64_t length) {
    return operands_.part(value(index), name, first, length);
  }
  // An operand of any type and place, independent of the others.
  View view(size_t index, const char* name) const;
  // A vector of any length.
  View vector(size_t index, const char* name) { return operands_.vector(value(index), name); }

  int64_t integer(size_t index, const char* name, int64_t least = 0) const {
    return integer_of(value(index), name, least);
  }
  double number(size_t index, const char* name) const;
  bool flag(size_t index) const { return value(index).ToBoolean(); }
  bool is_absent(size_t index) const { return sigma::is_absent(env(), value(index)); }
  // The pattern in host memory.
  const sigma_pattern& pattern(size_t index, const char* name) const { return pattern_of(value(index), name); }
  // The pattern at the place of the operands read so far.
  const sigma_pattern& placed_pattern(size_t index, const char* name) const {
    return pattern_at(value(index), name, operands_.place());
  }

 private:
  const Napi::CallbackInfo& info_;
  Environment& environment_;
  Operands operands_;
};

// a · b for sizes; throws if the product is not an exact integer.
int64_t product(int64_t a, int64_t b);

// Calls receiver.watchIdle(); false if there is none, or if it fails.
bool start_watch(napi_env env, napi_value receiver) noexcept;

// The calling public function, from the first argument; `name` if that is not a string.
Caller caller_of(const Napi::CallbackInfo& info, const char* name);

// Whether a call counts as use of the environment.
enum class Use { kCounted, kIgnored };

// Notes a call. The first one after an idle time has JavaScript call `trimIdle` at intervals.
inline void note_use(Environment& environment, const Napi::CallbackInfo& info) {
  environment.used = true;
  if (!environment.watched) environment.watched = start_watch(info.Env(), info.This());
}

// A function as an exported method. Every exception becomes an error of the calling public function.
template <Napi::Value (*body)(Args&), Use use>
Napi::Value exported(const Napi::CallbackInfo& info) {
  try {
    Args args(info);
    if constexpr (use == Use::kCounted) note_use(args.environment(), info);
    return body(args);
  } catch (...) {
    throw current_error(info.Env(), caller_of(info, static_cast<const char*>(info.Data())));
  }
}

template <Napi::Value (*body)(Args&), Use use = Use::kCounted>
void export_function(Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<exported<body, use>>(exports.Env(), name, const_cast<char*>(name)));
}

}  // namespace sigma
