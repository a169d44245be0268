#include "args.h"

#include <cmath>
#include <cstddef>

namespace sigma {
namespace {

constexpr double kLargestInteger = 9007199254740991.0;  // 2^53 - 1

struct TypedArray {
  napi_typedarray_type type;
  void* data;
  int64_t length;
};

// Returns an empty Int8Array, which every caller rejects, if the value is not a typed array.
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

// A Float32Array, a Float64Array, a Uint16Array with bfloat16 numbers, an Int16Array with float16 numbers, an Int8Array
// with the codes and the scales of a matrix, or device memory with a floating-point type.
View real_view(Napi::Value value, const char* name) {
  const TypedArray array = typed_array(value);
  if (array.type == napi_float32_array) return {array.data, array.length, SIGMA_FLOAT32};
  if (array.type == napi_float64_array) return {array.data, array.length, SIGMA_FLOAT64};
  if (array.type == napi_uint16_array) return {array.data, array.length, SIGMA_BFLOAT16};
  if (array.type == napi_int16_array) return {array.data, array.length, SIGMA_FLOAT16};
  if (array.type == napi_int8_array && array.length > 0) return {array.data, array.length, SIGMA_INT8};
  const DeviceMemory* const memory = memory_behind(value.Env(), value);
  if (memory == nullptr || !memory->block || memory->element == Element::kInt32) {
    throw ArgumentError(std::string(name) +
                        ": expected a Float32Array, a Float64Array, a Uint16Array, or floating-point device memory");
  }
  return {memory->block->data(), memory->length, static_cast<sigma_dtype>(memory->element), memory->block};
}

const char* dtype_name(sigma_dtype dtype) {
  constexpr const char* kNames[] = {"float32", "float64", "bfloat16", "int8", "float16"};
  return kNames[dtype];
}

void require_type(const char* name, sigma_dtype wanted, sigma_dtype found) {
  if (found == wanted) return;
  throw ArgumentError(std::string(name) + ": expected " + dtype_name(wanted) + ", got " + dtype_name(found));
}

void require_length(const char* name, int64_t wanted, int64_t found) {
  if (found == wanted) return;
  throw ArgumentError(std::string(name) + ": expected " + std::to_string(wanted) + " numbers, got " +
                      std::to_string(found));
}

// An int8 matrix in one array: the codes, padded to whole floats, and then the scales.
sigma_matrix scaled_matrix(const View& view, const char* name, int64_t count, int64_t rows, int64_t columns) {
  constexpr int64_t kScale = sizeof(float);
  const int64_t codes = (count + kScale - 1) / kScale * kScale;
  const int64_t groups = (columns + SIGMA_SCALE_GROUP - 1) / SIGMA_SCALE_GROUP;
  require_length(name, codes + product(rows, groups) * kScale, view.length);
  if (reinterpret_cast<uintptr_t>(view.data) % alignof(float) != 0)
    throw ArgumentError(std::string(name) + ": expected an Int8Array that begins at a multiple of 4 bytes");
  sigma_matrix matrix = dense_matrix(SIGMA_INT8, view.data, rows, columns);
  matrix.scales = reinterpret_cast<float*>(static_cast<std::byte*>(view.data) + codes);
  return matrix;
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

View Operands::any(Napi::Value value, const char* name) {
  View view = real_view(value, name);
  if (!known_) {
    real_ = real_of(view.dtype);
    if (view.block) place_ = view.block->place();
    known_ = true;
  }
  if (real_of(view.dtype) != real_) {
    throw ArgumentError(std::string(name) + ": expected a type that goes with " + dtype_name(dtype_of(real_)) +
                        " vectors, got " + dtype_name(view.dtype));
  }
  const bool here = view.block ? view.block->place() == place_ : !place_->has_memory();
  if (!here) throw ArgumentError(std::string(name) + ": expected memory of the same device as the earlier operands");
  return view;
}

sigma_matrix Operands::matrix(Napi::Value value, const char* name, int64_t rows, int64_t columns) {
  const View view = any(value, name);
  const int64_t count = product(rows, columns);
  if (view.dtype == SIGMA_INT8) return scaled_matrix(view, name, count, rows, columns);
  require_length(name, count, view.length);
  return dense_matrix(view.dtype, view.data, rows, columns);
}

sigma_matrix Operands::matrix(Napi::Value value, const char* name, int64_t rows, int64_t columns, sigma_dtype dtype) {
  const sigma_matrix found = matrix(value, name, rows, columns);
  require_type(name, dtype, found.dtype);
  return found;
}

View Operands::vector(Napi::Value value, const char* name) {
  View view = any(value, name);
  require_type(name, dtype_of(real_), view.dtype);
  return view;
}

void* Operands::vector(Napi::Value value, const char* name, int64_t length) {
  const View view = vector(value, name);
  require_length(name, length, view.length);
  return view.data;
}

View Operands::part(Napi::Value value, const char* name, int64_t first, int64_t length) {
  View view = any(value, name);
  if (first > view.length || length > view.length - first) {
    throw ArgumentError(std::string(name) + ": expected at least " + std::to_string(first) + " + " +
                        std::to_string(length) + " numbers, got " + std::to_string(view.length));
  }
  view.data = static_cast<std::byte*>(view.data) + static_cast<size_t>(first) * element_size(view.dtype);
  view.length = length;
  return view;
}

double Args::number(size_t index, const char* name) const { return number_of(value(index), name); }

View Args::view(size_t index, const char* name) const { return real_view(value(index), name); }

Caller Args::caller(const char* name) const { return caller_of(info_, name); }

bool start_watch(napi_env env, napi_value receiver) noexcept {
  napi_value watch = nullptr, result = nullptr;
  napi_valuetype type = napi_undefined;
  const bool known = napi_get_named_property(env, receiver, "watchIdle", &watch) == napi_ok &&
                     napi_typeof(env, watch, &type) == napi_ok && type == napi_function;
  if (known && napi_call_function(env, receiver, watch, 0, nullptr, &result) == napi_ok) return true;
  // Such as too deep a recursion, which the call itself may survive.
  napi_get_and_clear_last_exception(env, &result);
  return false;
}

Caller caller_of(const Napi::CallbackInfo& info, const char* name) {
  const bool named = info[size_t{0}].IsString();
  return {info.This(), named ? info[size_t{0}].As<Napi::String>().Utf8Value() : std::string(name)};
}

}  // namespace sigma
