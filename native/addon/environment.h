// What one Node environment (the main thread, or a worker) owns, and how its failures become SigmaErrors.
#pragma once

#include <napi.h>

#include <stdexcept>
#include <string>

#include "backend.h"
#include "recipes/adapter.h"

namespace sigma {

struct Environment {
  const sigma_backend* backend = nullptr;
  sigma_context* context = nullptr;
  napi_ref error_class = nullptr;  // lib/errors.ts's SigmaError; released with the environment

  Environment() = default;
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() {
    if (context != nullptr) backend->destroy_context(context);
  }
};

// An argument that would not be safe to use. TypeScript has checked meaning before; this is the second line.
class ArgumentError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

const char* error_code(sigma_status status);

// new SigmaError(code, op, message, detail); `detail` may be null
napi_status make_error(napi_env env, const char* code, const char* op, const char* message, napi_value detail,
                       napi_value* error) noexcept;

// The exception in flight, as a SigmaError of operation `op`. To be called from within a catch block.
Napi::Error current_error(Napi::Env env, const char* op);

}  // namespace sigma
