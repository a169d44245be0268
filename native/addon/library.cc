#include "library.h"

#if defined(_WIN32)
#include <windows.h>
#else
#include <dlfcn.h>
#endif

namespace sigma {
namespace {

// Any object of this addon has an address by which the system finds the addon.
const char here = 0;

}  // namespace

#if defined(_WIN32)

namespace {

std::wstring wide(const std::string& text) {
  const int size = static_cast<int>(text.size());
  std::wstring result(static_cast<size_t>(MultiByteToWideChar(CP_UTF8, 0, text.data(), size, nullptr, 0)), L'\0');
  MultiByteToWideChar(CP_UTF8, 0, text.data(), size, result.data(), static_cast<int>(result.size()));
  return result;
}

}  // namespace

void* library_symbol(const std::string& path, const char* name, std::string& error) {
  // A library at an absolute path finds those that it needs next to itself.
  const HMODULE library = LoadLibraryExW(wide(path).c_str(), nullptr, LOAD_WITH_ALTERED_SEARCH_PATH);
  const FARPROC symbol = library != nullptr ? GetProcAddress(library, name) : nullptr;
  if (symbol == nullptr) error = path + ": " + name + " not found, Windows error " + std::to_string(GetLastError());
  return reinterpret_cast<void*>(symbol);
}

void keep_addon() {
  HMODULE module = nullptr;
  constexpr DWORD kFlags = GET_MODULE_HANDLE_EX_FLAG_PIN | GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS;
  GetModuleHandleExA(kFlags, &here, &module);
}

#else

void* library_symbol(const std::string& path, const char* name, std::string& error) {
  void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* const symbol = library != nullptr ? dlsym(library, name) : nullptr;
  if (symbol == nullptr) {
    const char* const message = dlerror();
    error = message != nullptr ? message : path + " has no symbol " + name;
  }
  return symbol;
}

void keep_addon() {
  Dl_info info;
  if (dladdr(&here, &info) != 0) dlopen(info.dli_fname, RTLD_LAZY | RTLD_NODELETE);
}

#endif

}  // namespace sigma
