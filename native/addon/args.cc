#include "args.h"

#include <cmath>

namespace sigma {
namespace {

constexpr double kLargestInteger = 9007199254740991.0;  // 2^53 - 1

struct TypedArray {
  napi_typedarray_type type;
  void* data;
  int64_t length;
};

// A value that is no typed array comes out as an Int8Array of length 0, a type that nobody here takes.
TypedArray typed_array(Napi::Value value) {
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) != napi_ok) {
    return {napi_int8_array, nullptr, 0};
  }
  return {type, data, static_cast<int64_t>(length)};
}

double number_of(Napi::Value value, const char* name) {
  if (!value.IsNumber()) throw ArgumentError(std::string(name) + ": expected a number");
  return value.As<Napi::Number>().DoubleValue();
}

const char* dtype_name(sigma_dtype dtype) { return dtype == SIGMA_FLOAT64 ? "float64" : "float32"; }

// A Float32Array or Float64Array.
View real_view(Napi::Value value, const char* name) {
  const TypedArray array = typed_array(value);
  if (array.type != napi_float32_array && array.type != napi_float64_array) {
    throw ArgumentError(std::string(name) + ": expected a Float32Array or Float64Array");
  }
  return {array.data, array.length, array.type == napi_float64_array ? SIGMA_FLOAT64 : SIGMA_FLOAT32};
}

}  // namespace

int64_t product(int64_t a, int64_t b) {
  int64_t result = 0;
  if (__builtin_mul_overflow(a, b, &result) || static_cast<double>(result) > kLargestInteger) {
    throw ArgumentError("sizes: expected a product below 2^53, got " + std::to_string(a) + " x " + std::to_string(b));
  }
  return result;
}

Int32View int32_view(Napi::Value value, const char* name) {
  const TypedArray array = typed_array(value);
  if (array.type != napi_int32_array) throw ArgumentError(std::string(name) + ": expected an Int32Array");
  return {static_cast<const int32_t*>(array.data), array.length};
}

int64_t integer_of(Napi::Value value, const char* name, int64_t least) {
  const double number = number_of(value, name);
  if (!(number >= static_cast<double>(least) && number <= kLargestInteger) || number != std::floor(number)) {
    throw ArgumentError(std::string(name) + ": expected an integer of at least " + std::to_string(least) + ", got " +
                        std::to_string(number));
  }
  return static_cast<int64_t>(number);
}

View RealArrays::any(Napi::Value value, const char* name) {
  const View view = real_view(value, name);
  if (typed_ && view.dtype != dtype_) {
    throw ArgumentError(std::string(name) + ": expected " + dtype_name(dtype_) + ", got " + dtype_name(view.dtype));
  }
  typed_ = true;
  dtype_ = view.dtype;
  return view;
}

void* RealArrays::exact(Napi::Value value, const char* name, int64_t length) {
  const View view = any(value, name);
  if (view.length != length) {
    throw ArgumentError(std::string(name) + ": expected " + std::to_string(length) + " numbers, got " +
                        std::to_string(view.length));
  }
  return view.data;
}

void* Args::optional_real(size_t index, const char* name, int64_t length) {
  const Napi::Value value = info_[index];
  return value.IsNull() || value.IsUndefined() ? nullptr : real(index, name, length);
}

double Args::number(size_t index, const char* name) const { return number_of(info_[index], name); }

const sigma_pattern* Args::optional_pattern(size_t index, const char* name) const {
  const Napi::Value value = info_[index];
  return value.IsNull() || value.IsUndefined() ? nullptr : &pattern(index, name);
}

const sigma_pattern& Args::pattern(size_t index, const char* name) const { return pattern_of(info_[index], name); }

}  // namespace sigma
