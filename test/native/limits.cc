// System limits: BLAS buffers, threads, processors.
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>

#include "cpu/gemm/blas_buffers.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/processors.h"
#include "harness.h"

extern "C" {
void* __real_blas_memory_alloc(int position);
void __real_blas_memory_free(void* memory);
void _gfortran_concat_string(size_t length, char* to, size_t a_length, const char* a, size_t b_length, const char* b);
}

namespace check {
namespace {

// Bytes of this process's memory map: contiguous from `address`, and in total.
struct Mapped {
  size_t from_address = 0, all = 0;
};
Mapped mapped(const void* address) {
  Mapped found;
  uintptr_t next = reinterpret_cast<uintptr_t>(address);
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::istringstream(line) >> std::hex >> begin >> dash >> end;
    found.all += end - begin;
    if (begin <= next && next < end) {
      found.from_address += end - next;
      next = end;
    }
  }
  return found;
}

// Must run last: the earlier tests call every BLAS and LAPACK routine of the backend.
void buffers() {
  // OpenBLAS keeps and reuses a mapped buffer. If this call maps one, no earlier call went to OpenBLAS's allocator.
  const size_t before = mapped(nullptr).all;
  void* const own = __real_blas_memory_alloc(0);
  const Mapped after = mapped(own);
  const bool archived = after.all - before >= sigma::cpu::kBlasBufferBytes / 2;
  expect(archived, "OpenBLAS gets all buffers from the backend");
  expect(after.from_address >= sigma::cpu::kBlasBufferBytes &&
             (!archived || after.all - before < sigma::cpu::kBlasBufferBytes + (size_t{1} << 20)),
         "a buffer has OpenBLAS's size");
  __real_blas_memory_free(own);
}

// More callers than buffers: callers wait, and each is served.
void many_callers() {
  constexpr int kCallers = 300;
  std::atomic<int> holding = 0, most = 0, served = 0;
  std::vector<std::thread> callers;
  for (int i = 0; i < kCallers; ++i) {
    callers.emplace_back([&] {
      const sigma::cpu::BlasCall call;
      const int now = ++holding;
      for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
      }
      // Holds the buffer until all are held, or too few threads are left.
      for (int turn = 0; turn < 1000 && most < 256; ++turn) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      --holding;
      ++served;
    });
  }
  for (std::thread& caller : callers) caller.join();
  expect(served == kCallers && most <= 256, "more callers than buffers wait for each other");
}

// Tasks that throw, also nested ones.
void failing_tasks() {
  sigma::cpu::set_threads(8);
  for (int round = 0; round < 50; ++round) {
    std::atomic<int> ran = 0;
    bool thrown = false;
    try {
      sigma::cpu::parallel_for(64, [&](int64_t index) {
        ++ran;
        sigma::cpu::parallel_for(3, [&](int64_t inner) {
          if (index % 7 == 3 && inner == 1) throw std::runtime_error("on purpose");
        });
      });
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    expect(thrown && ran <= 64, "parallel_for rethrows the exception of a task");
  }
  sigma::cpu::set_threads(2);
}

// A folder with simulated control-group files.
class Machine {
 public:
  Machine() {
    char name[] = "/tmp/sigmatune-XXXXXX";
    if (mkdtemp(name) == nullptr) throw std::runtime_error("cannot create a temporary folder");
    root_ = name;
  }
  ~Machine() {
    for (auto path = made_.rbegin(); path != made_.rend(); ++path) std::remove(path->c_str());
    std::remove(root_.c_str());
  }
  Machine& file(const std::string& path, const std::string& text) {
    for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
      if (mkdir((root_ + path.substr(0, end)).c_str(), 0700) == 0) made_.push_back(root_ + path.substr(0, end));
    }
    std::ofstream(root_ + path) << text;
    made_.push_back(root_ + path);
    return *this;
  }
  double quota() const { return sigma::cpu::processor_quota(root_); }

 private:
  std::string root_;
  std::vector<std::string> made_;
};

void quotas() {
  constexpr const char* kMount2 = "25 1 0:22 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n";
  const auto limited2 = [&](Machine& machine, const char* path, const char* mount) -> Machine& {
    return machine.file("/proc/self/cgroup", std::string("0::") + path + "\n").file("/proc/self/mountinfo", mount);
  };
  {
    Machine machine;
    expect(std::isinf(machine.quota()), "no control groups: unlimited");
  }
  {
    Machine machine;
    limited2(machine, "/", kMount2);
    expect(std::isinf(machine.quota()), "root group: unlimited");
    machine.file("/sys/fs/cgroup/cpu.max", "max 100000\n");
    expect(std::isinf(machine.quota()), "\"max\": unlimited");
  }
  {
    Machine machine;
    limited2(machine, "/", kMount2).file("/sys/fs/cgroup/cpu.max", "250000 100000\n");
    expect(machine.quota() == 2.5, "version 2: quota / period of a container");
  }
  {
    Machine machine;
    limited2(machine, "/a/b", kMount2)
        .file("/sys/fs/cgroup/a/cpu.max", "150000 100000\n")
        .file("/sys/fs/cgroup/a/b/cpu.max", "400000 100000\n");
    expect(machine.quota() == 1.5, "version 2: limits of parent groups apply");
  }
  {
    Machine machine;
    machine.file("/proc/self/cgroup", "3:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/docker/abc\n")
        .file("/proc/self/mountinfo",
              "30 1 0:26 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
              "31 1 0:27 /docker/abc /sys/fs/cgroup/unified ro - cgroup2 cgroup2 rw\n")
        .file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n")
        .file("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    expect(machine.quota() == 0.5, "version 1: a container that sees only a subtree");
  }
  {
    Machine machine;
    machine.file("/proc/self/cgroup", "2:cpu,cpuacct:/\n")
        .file("/proc/self/mountinfo", "30 1 0:26 / /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n")
        .file("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
        .file("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    expect(std::isinf(machine.quota()), "version 1: -1 is unlimited");
  }
  {
    Machine machine;
    limited2(machine, "junk without a slash", "no mounts, just junk\n - \n - cgroup2\n");
    expect(std::isinf(machine.quota()), "malformed files: unlimited");
  }
  expect(sigma::cpu::usable_processors() >= 1, "at least one processor");
}

void fortran() {
  char text[6] = "-----";
  _gfortran_concat_string(4, text, 1, "a", 2, "bc");
  expect(std::string(text) == "abc -", "a // b is padded with blanks");
  _gfortran_concat_string(2, text, 1, "a", 2, "bc");
  expect(std::string(text) == "abc -", "a // b is truncated");
}

}  // namespace

void limits() {
  quotas();
  fortran();
  failing_tasks();
  many_callers();
  buffers();
}

}  // namespace check
