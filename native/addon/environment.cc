#include "environment.h"

#include <new>

namespace sigma {

const char* error_code(sigma_status status) {
  switch (status) {
    case SIGMA_INVALID_ARGUMENT: return "INVALID_ARGUMENT";
    case SIGMA_NON_FINITE: return "NON_FINITE";
    case SIGMA_NOT_CONVERGED: return "NOT_CONVERGED";
    case SIGMA_OUT_OF_MEMORY: return "OUT_OF_MEMORY";
    case SIGMA_UNSUPPORTED: return "UNSUPPORTED";
    default: return "NATIVE";
  }
}

napi_status make_error(napi_env env, const char* code, const char* op, const char* message, napi_value detail,
                       napi_value* error) noexcept {
  void* data = nullptr;
  napi_value constructor = nullptr;
  napi_value arguments[4] = {nullptr, nullptr, nullptr, detail};
  const char* const texts[3] = {code, op, message};
  napi_status status = napi_get_instance_data(env, &data);
  if (status != napi_ok || data == nullptr) return napi_generic_failure;
  status = napi_get_reference_value(env, static_cast<Environment*>(data)->error_class, &constructor);
  for (int i = 0; i < 3 && status == napi_ok; ++i) {
    status = napi_create_string_utf8(env, texts[i], NAPI_AUTO_LENGTH, &arguments[i]);
  }
  if (status == napi_ok && detail == nullptr) status = napi_get_undefined(env, &arguments[3]);
  return status == napi_ok ? napi_new_instance(env, constructor, 4, arguments, error) : status;
}

namespace {

Napi::Error thrown(Napi::Env env, const char* code, const char* op, const char* message) {
  napi_value error = nullptr;
  if (make_error(env, code, op, message, nullptr, &error) != napi_ok) return Napi::Error::New(env, message);
  return Napi::Error(env, error);
}

}  // namespace

Napi::Error current_error(Napi::Env env, const char* op) {
  try {
    throw;
  } catch (const Napi::Error& error) {
    return error;
  } catch (const ArgumentError& error) {
    return thrown(env, "INVALID_ARGUMENT", op, error.what());
  } catch (const BackendError& error) {
    return thrown(env, error_code(error.status()), op, error.what());
  } catch (const std::bad_alloc&) {
    return thrown(env, "OUT_OF_MEMORY", op, "the system has no memory left for this call");
  } catch (const std::exception& error) {
    return thrown(env, "NATIVE", op, error.what());
  } catch (...) {
    return thrown(env, "NATIVE", op, "an unknown failure");
  }
}

}  // namespace sigma
