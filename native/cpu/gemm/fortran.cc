// The only libgfortran function that the LAPACK in OpenBLAS's archive calls. Defined here, so that the addon does not
// depend on libgfortran.
#include <algorithm>
#include <cstddef>
#include <cstring>

// to = a // b, truncated to `length` or padded with blanks.
extern "C" void _gfortran_concat_string(size_t length, char* to, size_t a_length, const char* a, size_t b_length,
                                        const char* b) {
  const size_t first = std::min(length, a_length);
  const size_t second = std::min(length - first, b_length);
  std::memcpy(to, a, first);
  std::memcpy(to + first, b, second);
  std::memset(to + first + second, ' ', length - first - second);
}
