// JavaScript values to views on memory: the only file that reads arguments. It trusts nothing.
#pragma once

#include <napi.h>

#include <cstdint>
#include <string>

#include "environment.h"
#include "pattern.h"

namespace sigma {

// The numbers behind a typed array, for the length of the call.
struct View {
  void* data = nullptr;
  int64_t length = 0;
  sigma_dtype dtype = SIGMA_FLOAT32;
};

struct Int32View {
  const int32_t* data = nullptr;
  int64_t length = 0;
};

Int32View int32_view(Napi::Value value, const char* name);

// An integer from `least` to 2^53.
int64_t integer_of(Napi::Value value, const char* name, int64_t least);

// Real arrays that must share one type: the first read sets it.
class RealArrays {
 public:
  sigma_dtype dtype() const { return dtype_; }
  // An array of any length.
  View any(Napi::Value value, const char* name);
  // An array of `length` numbers.
  void* exact(Napi::Value value, const char* name, int64_t length);

 private:
  sigma_dtype dtype_ = SIGMA_FLOAT32;
  bool typed_ = false;
};

class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info)
      : info_(info), environment_(*info.Env().GetInstanceData<Environment>()) {}

  Napi::Env env() const { return info_.Env(); }
  Napi::Value value(size_t index) const { return info_[index]; }
  // For the dtype that the arrays read so far have shared.
  Engine engine() const { return {environment_.backend, environment_.context, arrays_.dtype()}; }
  const sigma_backend& backend() const { return *environment_.backend; }
  Environment& environment() const { return environment_; }

  // An array of `length` numbers, of the same type as those read before it.
  void* real(size_t index, const char* name, int64_t length) { return arrays_.exact(info_[index], name, length); }
  // The same, or null for null and undefined.
  void* optional_real(size_t index, const char* name, int64_t length);
  // An array of any length, which sets the type and gives the count.
  View any_real(size_t index, const char* name) { return arrays_.any(info_[index], name); }

  int64_t integer(size_t index, const char* name, int64_t least = 0) const {
    return integer_of(info_[index], name, least);
  }
  double number(size_t index, const char* name) const;
  bool flag(size_t index) const { return info_[index].ToBoolean(); }
  // A pattern's handle, or null for null and undefined.
  const sigma_pattern* optional_pattern(size_t index, const char* name) const;
  const sigma_pattern& pattern(size_t index, const char* name) const;

 private:
  const Napi::CallbackInfo& info_;
  Environment& environment_;
  RealArrays arrays_;
};

// a · b for sizes; throws where the product leaves the range of exact integers.
int64_t product(int64_t a, int64_t b);

// The exported form of a function: everything it throws becomes a SigmaError of operation `op`.
template <Napi::Value (*body)(Args&)>
Napi::Value exported(const Napi::CallbackInfo& info) {
  try {
    Args args(info);
    return body(args);
  } catch (...) {
    throw current_error(info.Env(), static_cast<const char*>(info.Data()));
  }
}

template <Napi::Value (*body)(Args&)>
void export_function(Napi::Object exports, const char* op) {
  exports.Set(op, Napi::Function::New<exported<body>>(exports.Env(), op, const_cast<char*>(op)));
}

}  // namespace sigma
