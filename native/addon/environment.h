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
  Napi::FunctionReference error_class;  // lib/errors.ts's SigmaError

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

// new SigmaError(code, op, message, detail)
Napi::Error sigma_error(Napi::Env env, const char* code, const char* op, const std::string& message,
                        Napi::Value detail);

// The exception in flight, as a SigmaError of operation `op`. To be called from within a catch block.
Napi::Error current_error(Napi::Env env, const char* op);

}  // namespace sigma
