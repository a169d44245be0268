// gemm, on the spot, and svd, off the event loop.
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "args.h"
#include "bind.h"
#include "task.h"

namespace sigma {
namespace {

// gemm(a, b, c, m, n, k, transposeA, transposeB): c (m, n) = op(a) op(b)
Napi::Value gemm(Args& args) {
  const int64_t m = args.integer(3, "m", 1);
  const int64_t n = args.integer(4, "n", 1);
  const int64_t k = args.integer(5, "k", 1);
  const bool transpose_a = args.flag(6);
  const bool transpose_b = args.flag(7);
  void* const a_data = args.real(0, "a", product(m, k));
  void* const b_data = args.real(1, "b", product(k, n));
  void* const c_data = args.real(2, "c", product(m, n));
  const sigma_matrix a = transpose_a ? sigma_matrix{a_data, k, m, m} : sigma_matrix{a_data, m, k, k};
  const sigma_matrix b = transpose_b ? sigma_matrix{b_data, n, k, k} : sigma_matrix{b_data, k, n, n};
  const sigma_matrix c{c_data, m, n, n};
  const Engine e = args.engine();
  e.call(e.backend->gemm, transpose_a, transpose_b, &a, &b, false, nullptr, &c);
  return args.env().Undefined();
}

// One asynchronous svd call. The inputs are copied before it starts: their buffers may be written, transferred or
// dropped while it runs. The outputs are arrays that nobody else has yet.
class SvdTask : public Task {
 public:
  SvdTask(const sigma_backend& backend, sigma_svd_driver driver) : backend_(backend), driver_(driver) {}

  // One more matrix: a (m, n) to u (m, r), s (r), vt (r, n).
  void add(Napi::Object problem) {
    const int64_t m = integer_of(problem.Get("rows"), "rows", 1);
    const int64_t n = integer_of(problem.Get("columns"), "columns", 1);
    const int64_t r = std::min(m, n);
    const int64_t size = product(m, n);
    const void* const a = arrays_.exact(problem.Get("a"), "a", size);
    const size_t bytes = static_cast<size_t>(size) * element_size(arrays_.dtype());
    auto copy = std::make_unique_for_overwrite<std::byte[]>(bytes);
    std::copy_n(static_cast<const std::byte*>(a), bytes, copy.get());
    problems_.push_back({copy.get(), arrays_.exact(problem.Get("u"), "u", product(m, r)),
                         arrays_.exact(problem.Get("s"), "s", r), arrays_.exact(problem.Get("vt"), "vt", product(r, n)),
                         m, n});
    inputs_.push_back(std::move(copy));
  }

 protected:
  Outcome run() override {
    Outcome outcome;
    const auto count = static_cast<int64_t>(problems_.size());
    outcome.status = backend_.svd(arrays_.dtype(), driver_, problems_.data(), count, &outcome.failed);
    if (outcome.status != SIGMA_OK) outcome.message = backend_.last_error();
    return outcome;
  }

 private:
  const sigma_backend& backend_;
  sigma_svd_driver driver_;
  RealArrays arrays_;
  std::vector<std::unique_ptr<std::byte[]>> inputs_;
  std::vector<sigma_svd_problem> problems_;
};

// svd(driver, problems): Promise<void>; problems is a list of { a, u, s, vt, rows, columns }
Napi::Value svd(Args& args) {
  const int64_t driver = args.integer(0, "driver");
  if (driver > SIGMA_SVD_GRAM64) throw ArgumentError("driver: expected a known driver");
  if (!args.value(1).IsArray()) throw ArgumentError("problems: expected an array");
  const auto problems = args.value(1).As<Napi::Array>();
  auto task = std::make_unique<SvdTask>(args.backend(), static_cast<sigma_svd_driver>(driver));
  for (uint32_t i = 0; i < problems.Length(); ++i) {
    const Napi::Value problem = problems[i];
    if (!problem.IsObject()) throw ArgumentError("problems: expected objects");
    task->add(problem.As<Napi::Object>());
  }
  return Task::start(args.env(), "svd", std::move(task), problems);
}

}  // namespace

void bind_linalg(Napi::Object exports) {
  export_function<gemm>(exports, "gemm");
  export_function<svd>(exports, "svd");
}

}  // namespace sigma
