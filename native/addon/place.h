// A place runs calls: one device of one backend, with the context of one environment.
#pragma once

#include <cstdint>

#include "contract/engine.h"

namespace sigma {

struct Place {
  const sigma_backend* backend;
  int32_t device;
  sigma_context* context = nullptr;

  Place(const sigma_backend* backend_, int32_t device_) : backend(backend_), device(device_) {
    const sigma_status status = backend->create_context(device, &context);
    if (status != SIGMA_OK) throw BackendError(status, backend->last_error());
  }
  ~Place() { backend->destroy_context(context); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  // Whether operands are in device memory; otherwise they are JavaScript memory.
  bool has_memory() const { return backend->allocate != nullptr; }
  Engine engine() const { return {backend, context}; }
};

}  // namespace sigma
