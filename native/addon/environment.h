// What one Node environment (the main thread, or a worker) owns, and how its failures become SigmaErrors.
#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "buffers.h"
#include "contract/backend.h"
#include "place.h"

namespace sigma {

struct Environment {
  std::shared_ptr<Place> cpu;
  std::map<int32_t, std::shared_ptr<Place>> devices;  // made when first used
  FreeBuffers buffers;
  napi_ref error_class = nullptr;  // lib/errors.ts's SigmaError; released with the environment

  Environment() : cpu(std::make_shared<Place>(sigma_cpu_backend(), 0)) {}
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
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
