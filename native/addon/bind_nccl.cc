// Means of device memory over the ranks. The calls run on the thread of the library for MPI, in the order of its calls.
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "args.h"
#include "bind.h"
#include "mpi_call.h"
#include "plugin.h"

namespace sigma {
namespace {

// The ranks that this process has joined, by number. Only the library's thread uses it. Never destroyed: a process that
// exits has no time to wait for others.
struct Joined {
  std::shared_ptr<Place> place;
  sigma_ranks* ranks;
};
std::vector<Joined>& joined() {
  static auto& all = *new std::vector<Joined>;
  return all;
}

const sigma_collective& collective_of(const sigma_backend* backend) {
  if (backend == nullptr || backend->collective == nullptr)
    throw ArgumentError("NCCL: expected an open device backend");
  return *backend->collective;
}

Joined& ranks_of(int64_t number) {
  if (static_cast<size_t>(number) >= joined().size() || joined()[static_cast<size_t>(number)].ranks == nullptr) {
    throw ArgumentError("ranks: expected the number of ranks that were joined");
  }
  return joined()[static_cast<size_t>(number)];
}

// ncclOpen(): { available, detail, searched }
Napi::Value nccl_open(Args& args) {
  const auto probe = std::make_unique<sigma_collective_probe>();
  collective_of(device_backend()).open(probe.get());
  Napi::Object status = Napi::Object::New(args.env());
  status.Set("available", probe->available != 0);
  status.Set("detail", probe->detail);
  status.Set("searched", probe->searched);
  return status;
}

// ncclIdentify(memory): 16 bytes that no other device has, of the memory's device; zeros if it has none
Napi::Value nccl_identify(Args& args) {
  const Place& place = *memory_of(args.value(0), "memory").block->place();
  Napi::Uint8Array uuid = Napi::Uint8Array::New(args.env(), 16);
  place.engine().check(collective_of(place.backend).identify(place.context, uuid.Data()));
  return uuid;
}

// ncclMakeId(): Promise of an id for ncclJoin
Napi::Value nccl_make_id(Args& args) {
  const sigma_backend* const backend = device_backend();
  const sigma_collective& collective = collective_of(backend);
  auto call = std::make_unique<MpiCall>([backend, &collective](MpiCall& self, sigma_wait&) {
    const Engine engine{backend, nullptr};
    engine.check(collective.make_id(self.give_bytes(SIGMA_COLLECTIVE_ID_BYTES)));
  });
  return MpiCall::start(args, "ncclMakeId", std::move(call));
}

// ncclJoin(memory, id, seconds): Promise of a number for the ranks, on the memory's device
Napi::Value nccl_join(Args& args) {
  std::shared_ptr<Place> place = memory_of(args.value(0), "memory").block->place();
  if (!args.value(1).IsTypedArray()) throw ArgumentError("id: expected a typed array");
  const auto given = args.value(1).As<Napi::TypedArray>();
  if (given.TypedArrayType() != napi_uint8_array || given.ByteLength() != SIGMA_COLLECTIVE_ID_BYTES) {
    throw ArgumentError("id: expected " + std::to_string(SIGMA_COLLECTIVE_ID_BYTES) + " bytes");
  }
  const uint8_t* const first = given.As<Napi::Uint8Array>().Data();
  std::vector<uint8_t> id(first, first + SIGMA_COLLECTIVE_ID_BYTES);
  auto call =
      std::make_unique<MpiCall>([place = std::move(place), id = std::move(id)](MpiCall& self, sigma_wait& wait) {
        const sigma_mpi& mpi = mpi_library();
        const Engine engine = place->engine();
        joined().push_back({place, nullptr});
        engine.check(place->backend->collective->join(place->context, id.data(), mpi.rank(), mpi.size(), &wait,
                                                      &joined().back().ranks));
        self.give_number(static_cast<int64_t>(joined().size()) - 1);
      });
  call->call().seconds = seconds_of(args, 2);
  return MpiCall::start(args, "ncclJoin", std::move(call));
}

// ncclMean(ranks, memories, seconds): Promise<void>; memories of one real type on the device of these ranks
Napi::Value nccl_mean(Args& args) {
  const int64_t number = args.integer(0, "ranks");
  if (!args.value(1).IsArray()) throw ArgumentError("memories: expected an array");
  const auto list = args.value(1).As<Napi::Array>();
  std::vector<std::shared_ptr<DeviceBlock>> blocks;
  std::vector<sigma_span> spans;
  Element element = Element::kFloat32;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const DeviceMemory& memory = memory_of(list[i], "memories");
    if (i == 0) element = memory.element;
    const bool is_real = memory.element == Element::kFloat32 || memory.element == Element::kFloat64;
    if (!is_real || memory.element != element) throw ArgumentError("memories: expected real numbers of one type");
    blocks.push_back(memory.block);
    spans.push_back({memory.block->data(), memory.length});
  }
  const sigma_real real = element == Element::kFloat64 ? SIGMA_REAL64 : SIGMA_REAL32;
  auto call = std::make_unique<MpiCall>(
      [number, real, blocks = std::move(blocks), spans = std::move(spans)](MpiCall&, sigma_wait& wait) {
        const Joined& own = ranks_of(number);
        for (const auto& block : blocks) {
          if (block->place() != own.place) throw ArgumentError("memories: expected memory on the device of the ranks");
        }
        own.place->engine().check(own.place->backend->collective->mean(own.ranks, real, spans.data(),
                                                                       static_cast<int64_t>(spans.size()), &wait));
      });
  call->call().seconds = seconds_of(args, 2);
  return MpiCall::start(args, "ncclMean", std::move(call));
}

// ncclLeave(ranks, seconds): Promise<void>
Napi::Value nccl_leave(Args& args) {
  const int64_t number = args.integer(0, "ranks");
  auto call = std::make_unique<MpiCall>([number](MpiCall&, sigma_wait& wait) {
    Joined& own = ranks_of(number);
    own.place->backend->collective->leave(std::exchange(own.ranks, nullptr), &wait);
  });
  call->call().seconds = seconds_of(args, 1);
  return MpiCall::start(args, "ncclLeave", std::move(call));
}

}  // namespace

void bind_nccl(Napi::Object exports) {
  export_function<nccl_open>(exports, "ncclOpen");
  export_function<nccl_identify>(exports, "ncclIdentify");
  export_function<nccl_make_id>(exports, "ncclMakeId");
  export_function<nccl_join>(exports, "ncclJoin");
  export_function<nccl_mean>(exports, "ncclMean");
  export_function<nccl_leave>(exports, "ncclLeave");
}

}  // namespace sigma
