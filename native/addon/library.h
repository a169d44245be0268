// Shared libraries of the system.
#pragma once

#include <string>

namespace sigma {

// The address of a symbol in the library at `path`, an absolute path, which stays open for ever. Null if there is none;
// `error` then says why.
void* library_symbol(const std::string& path, const char* name, std::string& error);

// Keeps this addon in memory until the process ends: the pool's threads outlive the last environment that loaded it.
void keep_addon();

}  // namespace sigma
