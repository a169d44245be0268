// A sparsity pattern on the native side: checked once, copied, so that no later write to a JavaScript array can send
// a kernel out of bounds.
#pragma once

#include <napi.h>

#include "backend.h"

namespace sigma {

// Makes the handle of a CSR structure: checks it, copies it, and adds the structure by columns.
Napi::Object make_pattern(Napi::Env env, const int32_t* row_pointers, int64_t size, const int32_t* column_indices,
                          int64_t entries);

// The structure behind a handle; throws ArgumentError for anything else.
const sigma_pattern& pattern_of(Napi::Value handle, const char* name);

}  // namespace sigma
