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

Napi::Error sigma_error(Napi::Env env, const char* code, const char* op, const std::string& message,
                        Napi::Value detail) {
  const auto* const environment = env.GetInstanceData<Environment>();
  const Napi::Object error = environment->error_class.New(
      {Napi::String::New(env, code), Napi::String::New(env, op), Napi::String::New(env, message), detail});
  return Napi::Error(env, error);
}

Napi::Error current_error(Napi::Env env, const char* op) {
  const Napi::Value none = env.Undefined();
  try {
    throw;
  } catch (const Napi::Error& error) {
    return error;
  } catch (const ArgumentError& error) {
    return sigma_error(env, "INVALID_ARGUMENT", op, error.what(), none);
  } catch (const BackendError& error) {
    return sigma_error(env, error_code(error.status()), op, error.what(), none);
  } catch (const std::bad_alloc&) {
    return sigma_error(env, "OUT_OF_MEMORY", op, "the system has no memory left for this call", none);
  } catch (const std::exception& error) {
    return sigma_error(env, "NATIVE", op, error.what(), none);
  } catch (...) {
    return sigma_error(env, "NATIVE", op, "an unknown failure", none);
  }
}

}  // namespace sigma
