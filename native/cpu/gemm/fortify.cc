// Debian's OpenBLAS is compiled against glibc with _FORTIFY_SOURCE, and so calls these functions, which musl lacks.
#include <cstdarg>
#include <cstddef>
#include <cstdio>

#if defined(__linux__) && !defined(__GLIBC__)

extern "C" {

// OpenBLAS prints only what it has against its arguments. The addon prints nothing.
int __printf_chk(int, const char*, ...) { return 0; }

int __sprintf_chk(char* to, int, size_t size, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(to, size, format, arguments);
  va_end(arguments);
  return length;
}

int __snprintf_chk(char* to, size_t size, int, size_t, const char* format, ...) {
  std::va_list arguments;
  va_start(arguments, format);
  const int length = std::vsnprintf(to, size, format, arguments);
  va_end(arguments);
  return length;
}
}

#endif
