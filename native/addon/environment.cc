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

napi_status make_error(napi_env env, const Caller& caller, const char* code, const char* message, napi_value detail,
                       napi_value* error) noexcept {
  napi_value constructor = nullptr;
  napi_valuetype type = napi_undefined;
  napi_value arguments[4] = {nullptr, nullptr, nullptr, detail};
  const char* const texts[3] = {code, caller.op.c_str(), message};
  napi_status status = napi_ok;
  for (int i = 0; i < 3 && status == napi_ok; ++i) {
    status = napi_create_string_utf8(env, texts[i], NAPI_AUTO_LENGTH, &arguments[i]);
  }
  if (status == napi_ok && detail == nullptr) status = napi_get_undefined(env, &arguments[3]);
  if (status != napi_ok) return status;
  const bool known = napi_get_named_property(env, caller.self, "SigmaError", &constructor) == napi_ok &&
                     napi_typeof(env, constructor, &type) == napi_ok && type == napi_function;
  return known ? napi_new_instance(env, constructor, 4, arguments, error)
               : napi_create_error(env, arguments[0], arguments[2], error);
}

namespace {

Napi::Error thrown(Napi::Env env, const Caller& caller, const char* code, const char* message) {
  napi_value error = nullptr;
  if (make_error(env, caller, code, message, nullptr, &error) != napi_ok) return Napi::Error::New(env, message);
  return Napi::Error(env, error);
}

}  // namespace

Napi::Error current_error(Napi::Env env, const Caller& caller) {
  try {
    throw;
  } catch (const Napi::Error& error) {
    return error;
  } catch (const ArgumentError& error) {
    return thrown(env, caller, "INVALID_ARGUMENT", error.what());
  } catch (const BackendError& error) {
    return thrown(env, caller, error_code(error.status()), error.what());
  } catch (const std::bad_alloc&) {
    return thrown(env, caller, "OUT_OF_MEMORY", "not enough host memory for this call");
  } catch (const std::exception& error) {
    return thrown(env, caller, "NATIVE", error.what());
  } catch (...) {
    return thrown(env, caller, "NATIVE", "unknown failure");
  }
}

}  // namespace sigma
