// JavaScript values to views on memory: the only file that reads arguments. It trusts nothing.
#pragma once

#include <napi.h>

#include <cstdint>
#include <memory>
#include <string>

#include "environment.h"
#include "memory.h"
#include "pattern.h"

namespace sigma {

// The numbers of an operand, for the length of the call: those of a typed array, or of a device's memory.
struct View {
  void* data = nullptr;
  int64_t length = 0;
  sigma_dtype dtype = SIGMA_FLOAT32;
  std::shared_ptr<DeviceBlock> block = nullptr;  // of a device's memory
};

struct Int32View {
  const int32_t* data = nullptr;
  int64_t length = 0;
};

Int32View int32_view(Napi::Value value, const char* name);

// An integer from `least` to 2^53.
int64_t integer_of(Napi::Value value, const char* name, int64_t least);

// The operands of one call. They share one type and one place, which the first read sets, so that it has to be a
// matrix: vectors beside bfloat16 matrices are float32.
class Operands {
 public:
  explicit Operands(const Environment& environment) : place_(environment.cpu) {}

  sigma_dtype dtype() const { return dtype_; }
  const std::shared_ptr<Place>& place() const { return place_; }
  // A matrix of any length.
  View any(Napi::Value value, const char* name) { return read(value, name, dtype_); }
  // A matrix of `length` numbers, or a vector.
  View exact(Napi::Value value, const char* name, int64_t length);
  void* vector(Napi::Value value, const char* name, int64_t length);
  // `length` of a matrix's numbers, from `first` on.
  void* part(Napi::Value value, const char* name, int64_t first, int64_t length);

 private:
  View read(Napi::Value value, const char* name, sigma_dtype expected);

  sigma_dtype dtype_ = SIGMA_FLOAT32;
  std::shared_ptr<Place> place_;
  bool typed_ = false;
};

class Args {
 public:
  explicit Args(const Napi::CallbackInfo& info)
      : info_(info), environment_(*info.Env().GetInstanceData<Environment>()), operands_(environment_) {}

  Napi::Env env() const { return info_.Env(); }
  Napi::Value value(size_t index) const { return info_[index]; }
  // For the type and the place that the operands read so far have shared.
  Engine engine() const { return operands_.place()->engine(operands_.dtype()); }
  const std::shared_ptr<Place>& place() const { return operands_.place(); }
  const sigma_backend& cpu() const { return *environment_.cpu->backend; }
  Environment& environment() const { return environment_; }

  // A matrix of `length` numbers, of the same type and place as the operands read before it.
  void* matrix(size_t index, const char* name, int64_t length) {
    return operands_.exact(info_[index], name, length).data;
  }
  // A vector beside matrices that were read before.
  void* vector(size_t index, const char* name, int64_t length) { return operands_.vector(info_[index], name, length); }
  // The same, or null for null and undefined.
  void* optional_matrix(size_t index, const char* name, int64_t length);
  void* optional_vector(size_t index, const char* name, int64_t length);
  // `length` of a matrix's numbers, from `first` on.
  void* part(size_t index, const char* name, int64_t first, int64_t length) {
    return operands_.part(info_[index], name, first, length);
  }
  // A matrix of any length, which sets the type and gives the count.
  View any_matrix(size_t index, const char* name) { return operands_.any(info_[index], name); }

  int64_t integer(size_t index, const char* name, int64_t least = 0) const {
    return integer_of(info_[index], name, least);
  }
  double number(size_t index, const char* name) const;
  bool flag(size_t index) const { return info_[index].ToBoolean(); }
  bool is_absent(size_t index) const { return info_[index].IsNull() || info_[index].IsUndefined(); }
  // A pattern, on the host: to know its sizes.
  const sigma_pattern& pattern(size_t index, const char* name) const { return pattern_of(info_[index], name); }
  // The same at the place of the operands read so far.
  const sigma_pattern& placed_pattern(size_t index, const char* name) const {
    return pattern_at(info_[index], name, operands_.place());
  }

 private:
  const Napi::CallbackInfo& info_;
  Environment& environment_;
  Operands operands_;
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
