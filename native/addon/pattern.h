// A sparsity pattern on the native side: checked once, copied, so that no later write to a JavaScript array can send
// a kernel out of bounds.
#pragma once

#include <napi.h>

#include <memory>

#include "contract/backend.h"
#include "environment.h"
#include "place.h"

namespace sigma {

// Makes the handle of a CSR structure: checks it, copies it, and adds the structure by columns.
Napi::Object make_pattern(Napi::Env env, const Environment& environment, const int32_t* row_pointers, int64_t size,
                          const int32_t* column_indices, int64_t entries);

// The structure behind a handle, on the host; throws ArgumentError for anything else.
const sigma_pattern& pattern_of(Napi::Value handle, const char* name);

// The same in memory of a place: copied there when it is first asked for, and kept.
const sigma_pattern& pattern_at(Napi::Value handle, const char* name, const std::shared_ptr<Place>& place);

}  // namespace sigma
