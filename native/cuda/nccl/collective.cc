// The means of device memory over the ranks. NCCL only moves the numbers: its own sums depend on the number of ranks,
// the network and the version, and these do not.
#include "cuda/nccl/collective.h"

#include <cstring>
#include <memory>
#include <string>

#include "contract/engine.h"
#include "cuda/nccl/library.h"
#include "cuda/nccl/mean.h"
#include "cuda/nccl/waiting.h"
#include "cuda/runtime/context.h"
#include "cuda/runtime/handles.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/plan.h"
#include "cuda/runtime/text.h"

using namespace sigma::cuda;

// Work runs on a stream of its own, so that it can be waited for while the context's thread queues more.
struct sigma_ranks {
  sigma_ranks(sigma_context& context, int rank, int size);
  ~sigma_ranks();
  sigma_ranks(const sigma_ranks&) = delete;
  sigma_ranks& operator=(const sigma_ranks&) = delete;

  void join(const nccl::Id& id, Waiting& waiting);
  void mean(sigma_real real, const sigma_span* spans, int64_t count, Waiting& waiting);
  void leave(Waiting& waiting);
  // Ends all work of NCCL here, so that the stream is free.
  void abort() noexcept;

  sigma_context& context;

 private:
  // Waits until NCCL has done what `result` came from: it connects ranks in the background.
  void settle(nccl::Result result, const char* what, Waiting& waiting);
  // Waits for the stream.
  void finish(const char* what, Waiting& waiting);
  // Part k of rank i's numbers becomes part i of rank k's; a part has `count` numbers.
  void exchange(const std::byte* from, std::byte* to, int64_t count, sigma_real real, Waiting& waiting);

  int rank_, size_;
  Stream stream_;
  Event ready_, done_;
  GrowingMemory memory_;
  nccl::Comm* comm_ = nullptr;  // null after a failure
};

sigma_ranks::sigma_ranks(sigma_context& own_context, int rank, int size)
    : context(own_context), rank_(rank), size_(size), stream_(make_stream()), ready_(make_event()),
      done_(make_event()) {}

sigma_ranks::~sigma_ranks() { abort(); }

void sigma_ranks::abort() noexcept {
  if (comm_ == nullptr) return;
  static_cast<void>(nccl::functions().comm_abort(comm_));
  comm_ = nullptr;
}

void sigma_ranks::settle(nccl::Result result, const char* what, Waiting& waiting) {
  waiting.until([&] {
    if (result == nccl::kInProgress && comm_ != nullptr) {
      nccl::check(nccl::functions().comm_async_error(comm_, &result), what, comm_);
    }
    return result != nccl::kInProgress;
  });
  nccl::check(result, what, comm_);
}

void sigma_ranks::finish(const char* what, Waiting& waiting) {
  check(cudaEventRecord(done_.get(), stream_.get()), what);
  waiting.until([&] {
    const cudaError_t state = cudaEventQuery(done_.get());
    if (state == cudaErrorNotReady) {
      static_cast<void>(cudaGetLastError());
      // Another rank or the network may have failed; then the stream would never be done.
      nccl::Result result = nccl::kSuccess;
      nccl::check(nccl::functions().comm_async_error(comm_, &result), what, comm_);
      if (result != nccl::kInProgress) nccl::check(result, what, comm_);
      return false;
    }
    check(state, what);
    return true;
  });
}

void sigma_ranks::join(const nccl::Id& id, Waiting& waiting) {
  nccl::Config config;
  settle(nccl::functions().comm_init(&comm_, size_, id, rank_, &config), "ncclCommInitRankConfig", waiting);
}

namespace {

nccl::Type type_of(sigma_real real) { return real == SIGMA_REAL64 ? nccl::kFloat64 : nccl::kFloat32; }

void copy(cudaStream_t stream, void* to, const void* from, size_t bytes) {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "a copy between gradients");
}

}  // namespace

void sigma_ranks::exchange(const std::byte* from, std::byte* to, int64_t count, sigma_real real, Waiting& waiting) {
  const nccl::Functions& f = nccl::functions();
  const size_t part = static_cast<size_t>(count) * sigma::element_size(real);
  nccl::check(f.group_start(), "ncclGroupStart", comm_);
  // A group that has begun has to be ended, whatever happens in it.
  nccl::Result failed = nccl::kSuccess;
  const auto note = [&](nccl::Result result) {
    if (failed == nccl::kSuccess && result != nccl::kInProgress) failed = result;
  };
  for (int peer = 0; peer < size_; ++peer) {
    const size_t at = static_cast<size_t>(peer) * part;
    note(f.send(from + at, static_cast<size_t>(count), type_of(real), peer, comm_, stream_.get()));
    note(f.receive(to + at, static_cast<size_t>(count), type_of(real), peer, comm_, stream_.get()));
  }
  const nccl::Result ended = f.group_end();
  nccl::check(failed, "ncclSend", comm_);
  settle(ended, "ncclGroupEnd", waiting);
}

// As the mean on the host (native/mpi/world.cc): each rank gets its slice of all vectors, and gives the slice's mean to
// all. A rank sends 2 (K - 1) / K vectors.
void sigma_ranks::mean(sigma_real real, const sigma_span* spans, int64_t count, Waiting& waiting) {
  if (comm_ == nullptr) throw sigma::Failure(SIGMA_NATIVE, "NCCL: an earlier call failed");
  const size_t element = sigma::element_size(real);
  int64_t length = 0;
  for (int64_t i = 0; i < count; ++i) length += spans[i].count;
  if (length == 0) return;
  const int64_t slice = divided_up(length, size_);
  const size_t bytes = static_cast<size_t>(slice) * static_cast<size_t>(size_) * element;
  auto* const packed = static_cast<std::byte*>(
      memory_.at_least(context.device(), stream_.get(), 2 * bytes + static_cast<size_t>(slice) * element));
  std::byte* const slices = packed + bytes;  // (K, slice)
  std::byte* const mine = slices + bytes;    // (slice)

  check(cudaEventRecord(ready_.get(), context.stream()), "waiting for gradients");
  check(cudaStreamWaitEvent(stream_.get(), ready_.get(), 0), "waiting for gradients");
  const auto each = [&](const auto& body) {
    size_t at = 0;
    for (int64_t i = 0; i < count; ++i) {
      const size_t size = static_cast<size_t>(spans[i].count) * element;
      if (size > 0) body(packed + at, spans[i].data, size);
      at += size;
    }
    return at;
  };
  const size_t used = each([&](std::byte* at, void* span, size_t size) { copy(stream_.get(), at, span, size); });
  if (used < bytes) check(cudaMemsetAsync(packed + used, 0, bytes - used, stream_.get()), "filling a slice");
  exchange(packed, slices, slice, real, waiting);
  mean_of(stream_.get(), real, slices, size_, slice, mine);
  settle(nccl::functions().all_gather(mine, packed, static_cast<size_t>(slice), type_of(real), comm_, stream_.get()),
         "ncclAllGather", waiting);
  finish("the mean over the ranks", waiting);
  each([&](const std::byte* at, void* span, size_t size) { copy(stream_.get(), span, at, size); });
  finish("writing the means", waiting);
}

void sigma_ranks::leave(Waiting& waiting) {
  if (comm_ == nullptr) return;
  const nccl::Functions& f = nccl::functions();
  settle(f.comm_finalize(comm_), "ncclCommFinalize", waiting);
  nccl::Comm* const finished = comm_;
  comm_ = nullptr;
  nccl::check(f.comm_destroy(finished), "ncclCommDestroy");
}

namespace sigma::cuda {
namespace {

void open(sigma_collective_probe* probe) {
  *probe = {};
  const sigma_status status = guarded([&] {
    const nccl::Library& library = nccl::library();
    write_text(probe->detail, library.detail);
    write_text(probe->searched, library.searched.text);
    probe->available = library.is_open ? 1 : 0;
  });
  if (status != SIGMA_OK) write_text(probe->detail, std::string("looking for NCCL failed: ") + last_error());
}

sigma_status identify(sigma_context* context, unsigned char* uuid) {
  return guarded([&] {
    cudaDeviceProp properties = {};
    check(cudaGetDeviceProperties(&properties, context->device().index), "the device's properties");
    static_assert(sizeof(properties.uuid) == 16);
    std::memcpy(uuid, &properties.uuid, sizeof(properties.uuid));
  });
}

sigma_status make_id(void* id) {
  return guarded([&] {
    static_assert(sizeof(nccl::Id) == SIGMA_COLLECTIVE_ID_BYTES);
    nccl::Id made = {};
    nccl::check(nccl::functions().get_unique_id(&made), "ncclGetUniqueId");
    std::memcpy(id, &made, sizeof(made));
  });
}

sigma_status join(sigma_context* context, const void* id, int32_t rank, int32_t size, sigma_wait* wait,
                  sigma_ranks** ranks) {
  return guarded([&] {
    context->activate();
    nccl::Id given = {};
    std::memcpy(&given, id, sizeof(given));
    auto made = std::make_unique<sigma_ranks>(*context, rank, size);
    Waiting waiting(*wait);
    made->join(given, waiting);
    *ranks = made.release();
  });
}

sigma_status mean(sigma_ranks* ranks, sigma_real real, const sigma_span* spans, int64_t count, sigma_wait* wait) {
  return guarded([&] {
    ranks->context.activate();
    Waiting waiting(*wait);
    try {
      ranks->mean(real, spans, count, waiting);
    } catch (...) {
      ranks->abort();
      throw;
    }
  });
}

void leave(sigma_ranks* ranks, sigma_wait* wait) {
  const std::unique_ptr<sigma_ranks> owned(ranks);
  guarded([&] {
    owned->context.activate();
    Waiting waiting(*wait);
    owned->leave(waiting);
  });
}

}  // namespace

constexpr sigma_collective kCollective = {
    .open = open, .identify = identify, .make_id = make_id, .join = join, .mean = mean, .leave = leave};

}  // namespace sigma::cuda
