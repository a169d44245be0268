// The native side of a sparsity pattern: a checked copy, so that no later write to a JavaScript array can send a kernel
// out of bounds.
#pragma once

#include <napi.h>

#include <memory>

#include "contract/backend.h"
#include "environment.h"
#include "place.h"

namespace sigma {

// Checks and copies a CSR structure, builds its transpose, and returns a handle.
Napi::Object make_pattern(Napi::Env env, const Environment& environment, const int32_t* row_pointers, int64_t size,
                          const int32_t* column_indices, int64_t entries);

// The pattern of a handle, in host memory; throws ArgumentError for any other value.
const sigma_pattern& pattern_of(Napi::Value handle, const char* name);

// The pattern in the memory of a place. The first call copies it there; later calls return the same copy.
const sigma_pattern& pattern_at(Napi::Value handle, const char* name, const std::shared_ptr<Place>& place);

}  // namespace sigma
