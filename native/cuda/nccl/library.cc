#include "cuda/nccl/library.h"

#include <cstdlib>
#include <vector>

#include "cuda/runtime/installations.h"
#include "cuda/runtime/shared_library.h"
#include "cuda/runtime/text.h"

namespace sigma::cuda::nccl {
namespace {

constexpr const char* kName = "libnccl.so.2";
constexpr const char* kVariable = "SIGMATUNE_NCCL_LIBRARY";

Functions resolved = {};

// The name of the first function that the library lacks, or "".
std::string resolve(void* handle) {
  std::string missing;
  Symbols s(handle, missing);
  s.require("ncclGetVersion", resolved.get_version);
  s.require("ncclGetUniqueId", resolved.get_unique_id);
  s.require("ncclCommInitRankConfig", resolved.comm_init);
  s.require("ncclCommGetAsyncError", resolved.comm_async_error);
  s.require("ncclCommFinalize", resolved.comm_finalize);
  s.require("ncclCommDestroy", resolved.comm_destroy);
  s.require("ncclCommAbort", resolved.comm_abort);
  s.require("ncclGroupStart", resolved.group_start);
  s.require("ncclGroupEnd", resolved.group_end);
  s.require("ncclSend", resolved.send);
  s.require("ncclRecv", resolved.receive);
  s.require("ncclAllGather", resolved.all_gather);
  s.require("ncclGetErrorString", resolved.error_string);
  s.require("ncclGetLastError", resolved.last_error);
  return missing;
}

std::string version_text() {
  int version = 0;
  if (resolved.get_version(&version) != kSuccess) return "NCCL";
  return "NCCL " + library_version(static_cast<size_t>(version));
}

bool open_at(const std::string& path, const std::string& place, Searched& searched, std::string& detail) {
  if (path.empty()) {
    searched.line(place + ": no " + kName);
    return false;
  }
  void* const handle = open(path);
  if (handle == nullptr) {
    searched.line(place + ": " + loader_error());
    return false;
  }
  const std::string missing = resolve(handle);
  if (!missing.empty()) {
    searched.line(place + ": older than NCCL 2.14, it lacks " + missing);
    return false;
  }
  searched.line(place + ": " + kName);
  detail = version_text() + " from " + place;
  return true;
}

Library open_first() {
  Library found;
  const char* const named = std::getenv(kVariable);
  if (named != nullptr && *named != '\0') {
    if (named[0] != '/') {
      found.detail = std::string(kVariable) + ": expected an absolute path, got '" + named + "'";
      return found;
    }
    found.is_open = open_at(named, named, found.searched, found.detail);
  } else {
    for (const Installation& installation : library_installations()) {
      found.is_open = open_at(locate(installation, kName), installation.name, found.searched, found.detail);
      if (found.is_open) break;
    }
  }
  if (!found.is_open) {
    found.detail = std::string("NCCL 2.14 or newer was not found; run `pip install nvidia-nccl-cu13`, or set ") +
                   kVariable + " to the absolute path of " + kName;
  }
  return found;
}

}  // namespace

const Library& library() {
  static const Library& opened = *new Library(open_first());  // never destroyed: threads of NCCL may outlive main
  return opened;
}

const Functions& functions() { return resolved; }

void check(Result result, const char* what, Comm* comm) {
  if (result == kSuccess) return;
  std::string text = std::string(what) + ": " + resolved.error_string(result);
  const char* const reason = resolved.last_error(comm);
  if (reason != nullptr && *reason != '\0') text += std::string(" (") + reason + ")";
  throw Failure(SIGMA_NATIVE, text + "; with SIGMATUNE_NCCL=off gradients go through the host's memory");
}

}  // namespace sigma::cuda::nccl
