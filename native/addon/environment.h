// The state of one Node environment (the main thread, or a worker). Turns failures into SigmaErrors.
#pragma once

#include <napi.h>

#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "buffers.h"
#include "contract/backend.h"
#include "handles.h"
#include "place.h"

namespace sigma {

struct Environment {
  std::shared_ptr<Place> cpu;
  std::map<int32_t, std::shared_ptr<Place>> devices;  // created on first use
  FreeBuffers buffers;
  std::shared_ptr<Handles> handles = std::make_shared<Handles>();  // patterns, layers, device memory
  // Whether there was a call since the last trimIdle, and whether JavaScript calls trimIdle at intervals.
  bool used = false, watched = false;
  // Asynchronous calls in progress.
  std::shared_ptr<int> tasks = std::make_shared<int>(0);

  Environment() : cpu(std::make_shared<Place>(sigma_cpu_backend(), 0)) {}
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
};

// An argument that is unsafe to use. TypeScript checks arguments first; these checks only keep memory safe.
class ArgumentError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

const char* error_code(sigma_status status);

// The origin of a call, for its errors. `self` is the receiver of the call, which holds the SigmaError class of its
// copy of the package. `op` is the name of the public function.
struct Caller {
  napi_value self;
  std::string op;
};

// new self.SigmaError(code, op, message, detail), or a plain Error if `self` has no such class; `detail` may be null.
napi_status make_error(napi_env env, const Caller& caller, const char* code, const char* message, napi_value detail,
                       napi_value* error) noexcept;

// The current exception as an error of this caller. Call it inside a catch block.
Napi::Error current_error(Napi::Env env, const Caller& caller);

}  // namespace sigma
