#include "plugin.h"

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

#include "library.h"

namespace sigma {
namespace {

Plugin open(const std::string& path) {
  Plugin plugin;
  void* const symbol = library_symbol(path, SIGMA_OPEN_BACKEND, plugin.load_error);
  if (symbol == nullptr) return plugin;
  reinterpret_cast<sigma_open_backend_function>(symbol)(SIGMA_ABI_VERSION, &plugin.probe);
  const sigma_backend* const table = plugin.probe.backend;
  if (plugin.probe.reason != SIGMA_AVAILABLE) {
    plugin.probe.backend = nullptr;
  } else if (table == nullptr || table->abi_version != SIGMA_ABI_VERSION || table->struct_size != sizeof(*table)) {
    plugin.load_error = path + ": expected the function table of ABI version " + std::to_string(SIGMA_ABI_VERSION);
    plugin.probe.backend = nullptr;
  }
  return plugin;
}

}  // namespace

const Plugin& open_plugin(const std::string& path) {
  static std::mutex mutex;
  // Never destroyed: threads of a library may outlive main.
  static auto& opened = *new std::map<std::string, Plugin>;
  const std::lock_guard<std::mutex> lock(mutex);
  const auto known = opened.find(path);
  if (known != opened.end()) return known->second;
  return opened.emplace(path, open(path)).first->second;
}

}  // namespace sigma
