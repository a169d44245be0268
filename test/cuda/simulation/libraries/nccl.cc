// A fake NCCL between processes of one machine, with the functions that the backend calls. Messages are files in a
// folder below TMPDIR, whose path is the id. SIGMA_SIMULATED_FAIL:
//   nccl_join:status, nccl:status   ncclCommInitRankConfig fails; a group of messages fails
//   nccl                            this rank never connects to the others
#include <cuda_runtime_api.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "cuda/nccl/library.h"
#include "operands.h"

using namespace sigma::simulation;
using namespace sigma::cuda::nccl;
namespace files = std::filesystem;

namespace {

constexpr Result kSystemError = static_cast<Result>(2);
constexpr Result kInvalidUsage = static_cast<Result>(5);

void write_file(const files::path& path, const void* data, size_t bytes) {
  // Whoever sees the name sees all of the file.
  const files::path part = path.string() + ".part";
  std::ofstream(part, std::ios::binary).write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
  files::rename(part, path);
}

void read_file(const files::path& path, void* data, size_t bytes) {
  for (int turn = 0; !files::exists(path); ++turn) {
    require(turn < 60'000, "ncclRecv", "expected the other rank's message within a minute");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  require(files::file_size(path) == bytes, "ncclRecv", "expected as many numbers as the other rank sends");
  std::ifstream(path, std::ios::binary).read(static_cast<char*>(data), static_cast<std::streamsize>(bytes));
  files::remove(path);
}

struct Message {
  bool is_sent;
  void* data;
  size_t bytes;
  int peer;
};

}  // namespace

namespace sigma::cuda::nccl {

struct Comm {
  files::path folder;
  int rank, size;
  uint64_t groups = 0;
  std::vector<Message> messages = {};  // of the group that is open, or waits for the other ranks
  cudaStream_t stream = nullptr;
  std::string awaited = {};  // every rank makes a file of this name when it is there; empty: nothing is awaited

  files::path mark(int of) const { return folder / (awaited + std::to_string(of)); }

  Result announce(const std::string& what) {
    awaited = what;
    if (planted("nccl") != Planted::unconverged) write_file(mark(rank), "", 0);
    return kInProgress;
  }

  bool are_all_here() const {
    for (int peer = 0; peer < size; ++peer) {
      if (!files::exists(mark(peer))) return false;
    }
    return true;
  }

  // Queues the messages, as NCCL does once the ranks are connected.
  void queue() {
    const std::string turn = std::to_string(groups++) + "-";
    // The messages may run after the communicator has been aborted.
    const auto name = [where = folder, turn](int from, int to) {
      return where / (turn + std::to_string(from) + "-" + std::to_string(to));
    };
    const auto queued = std::exchange(messages, {});
    enqueue(stream, [queued, name, own = rank] {
      for (const Message& m : queued) {
        if (m.is_sent) write_file(name(own, m.peer), m.data, m.bytes);
      }
    });
    enqueue(stream, [queued, name, own = rank] {
      for (const Message& m : queued) {
        if (!m.is_sent) read_file(name(m.peer, own), m.data, m.bytes);
      }
    });
  }
};

}  // namespace sigma::cuda::nccl

namespace {

thread_local bool in_group = false;
thread_local Comm* grouped = nullptr;

size_t size_of(Type type) { return type == kFloat64 ? 8 : 4; }

Result add(bool is_sent, const void* data, size_t count, Type type, int peer, Comm* comm, cudaStream_t stream) {
  require(in_group, "ncclSend, ncclRecv", "expected an open group");
  require(type == kFloat32 || type == kFloat64, "ncclSend, ncclRecv", "expected real numbers");
  require_operand(data, count * size_of(type), "ncclSend, ncclRecv");
  comm->messages.push_back({is_sent, const_cast<void*>(data), count * size_of(type), peer});
  comm->stream = stream;
  grouped = comm;
  return kSuccess;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

Result ncclGetVersion(int* version) {
  *version = 22900;
  return kSuccess;
}

Result ncclGetUniqueId(Id* id) {
  std::string folder = (files::temp_directory_path() / "sigma-nccl-XXXXXX").string();
  require(folder.size() < sizeof(id->bytes), "ncclGetUniqueId", "expected a shorter TMPDIR");
  if (mkdtemp(folder.data()) == nullptr) return kSystemError;
  std::memcpy(id->bytes, folder.c_str(), folder.size() + 1);
  return kSuccess;
}

Result ncclCommInitRankConfig(Comm** comm, int size, Id id, int rank, Config* config) {
  require(config->magic == 0xcafebeef && config->size >= sizeof(Config), "ncclCommInitRankConfig",
          "expected a configuration");
  require(config->blocking == 0, "ncclCommInitRankConfig", "expected a communicator that does not block");
  if (planted("nccl_join") == Planted::status) return kSystemError;
  *comm = new Comm{id.bytes, rank, size};
  return (*comm)->announce("rank-");
}

Result ncclCommGetAsyncError(Comm* comm, Result* error) {
  *error = kSuccess;
  if (comm->awaited.empty()) return kSuccess;
  *error = kInProgress;
  if (!comm->are_all_here()) return kSuccess;
  comm->awaited.clear();
  if (!comm->messages.empty()) comm->queue();
  *error = kSuccess;
  return kSuccess;
}

Result ncclCommFinalize(Comm* comm) { return comm->announce("end-"); }

Result ncclCommDestroy(Comm* comm) {
  require(comm->awaited.empty(), "ncclCommDestroy", "expected a communicator that is finalized");
  delete comm;
  return kSuccess;
}

Result ncclCommAbort(Comm* comm) {
  delete comm;
  return kSuccess;
}

Result ncclGroupStart() {
  require(!in_group, "ncclGroupStart", "expected no open group");
  in_group = true;
  grouped = nullptr;
  return kSuccess;
}

Result ncclGroupEnd() {
  require(in_group, "ncclGroupEnd", "expected an open group");
  in_group = false;
  if (planted("nccl") == Planted::status) return kInvalidUsage;
  return grouped == nullptr ? kSuccess : grouped->announce("group-" + std::to_string(grouped->groups) + "-");
}

Result ncclSend(const void* from, size_t count, Type type, int peer, Comm* comm, cudaStream_t stream) {
  return add(true, from, count, type, peer, comm, stream);
}

Result ncclRecv(void* to, size_t count, Type type, int peer, Comm* comm, cudaStream_t stream) {
  return add(false, to, count, type, peer, comm, stream);
}

Result ncclAllGather(const void* from, void* to, size_t count, Type type, Comm* comm, cudaStream_t stream) {
  ncclGroupStart();
  for (int peer = 0; peer < comm->size; ++peer) {
    add(true, from, count, type, peer, comm, stream);
    add(false, static_cast<char*>(to) + static_cast<size_t>(peer) * count * size_of(type), count, type, peer, comm,
        stream);
  }
  return ncclGroupEnd();
}

const char* ncclGetErrorString(Result result) { return result == kSystemError ? "system error" : "invalid usage"; }

const char* ncclGetLastError(Comm*) { return "planted by a test"; }

}  // extern "C"
#pragma GCC visibility pop
