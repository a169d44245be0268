// Texts of what is probed.
#pragma once

#include <cstddef>
#include <cstdio>
#include <string>

namespace sigma::cuda {

// Writes a text into a field of a probe, cut to its size.
template <size_t size>
void write_text(char (&to)[size], const std::string& text) {
  std::snprintf(to, size, "%s", text.c_str());
}

// "13.1.1" for 130101, as cuBLASLt and NCCL number their versions.
inline std::string library_version(size_t number) {
  return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." + std::to_string(number % 100);
}

}  // namespace sigma::cuda
