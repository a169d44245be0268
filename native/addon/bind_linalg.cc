// gemm and copies, on the spot, and gemmLater and svd, off the event loop.
#include <algorithm>
#include <cstddef>
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
  void* const a_data = args.matrix(0, "a", product(m, k));
  void* const b_data = args.matrix(1, "b", product(k, n));
  void* const c_data = args.matrix(2, "c", product(m, n));
  const sigma_matrix a = transpose_a ? sigma_matrix{a_data, k, m, m} : sigma_matrix{a_data, m, k, k};
  const sigma_matrix b = transpose_b ? sigma_matrix{b_data, n, k, k} : sigma_matrix{b_data, k, n, n};
  const sigma_matrix c{c_data, m, n, n};
  const Engine e = args.engine();
  e.call(e.backend->gemm, transpose_a, transpose_b, &a, &b, false, nullptr, &c);
  return args.env().Undefined();
}

// copyMatrix(from, fromFirst, fromStride, to, toFirst, toStride, rows, columns): the block of `to` that begins at
// element toFirst takes the numbers of the block of `from`
Napi::Value copy_matrix(Args& args) {
  const int64_t rows = args.integer(6, "rows", 1);
  const int64_t columns = args.integer(7, "columns", 1);
  const auto block = [&](size_t index, const char* name) {
    const int64_t stride = args.integer(index + 2, "stride", columns);
    const int64_t length = product(rows - 1, stride) + columns;
    return sigma_matrix{args.part(index, name, args.integer(index + 1, "first"), length), rows, columns, stride};
  };
  const sigma_matrix from = block(0, "from");
  const sigma_matrix to = block(3, "to");
  const Engine e = args.engine();
  e.call(e.backend->copy_matrix, &from, &to);
  return args.env().Undefined();
}

// Copies of what an asynchronous call reads: the caller's memory may be written, transferred or dropped while it runs.
class InputCopies {
 public:
  const void* add(const Operands& operands, const void* data, size_t bytes) {
    const std::shared_ptr<Place>& place = operands.place();
    if (!place->has_memory()) {
      host_.push_back(std::make_unique_for_overwrite<std::byte[]>(bytes));
      std::copy_n(static_cast<const std::byte*>(data), bytes, host_.back().get());
      return host_.back().get();
    }
    blocks_.push_back(std::make_unique<DeviceBlock>(place, bytes));
    const Engine e = place->engine(operands.dtype());
    e.check(e.backend->copy(e.context, blocks_.back()->data(), data, bytes));
    return blocks_.back()->data();
  }

 private:
  std::vector<std::unique_ptr<std::byte[]>> host_;
  std::vector<std::unique_ptr<DeviceBlock>> blocks_;
};

// One asynchronous gemm call. The output is memory that nobody else has yet.
class GemmTask : public Task {
 public:
  explicit GemmTask(const Environment& environment) : operands_(environment) {}

  void read(Args& args) {
    const int64_t m = args.integer(3, "m", 1);
    const int64_t n = args.integer(4, "n", 1);
    const int64_t k = args.integer(5, "k", 1);
    transpose_a_ = args.flag(6);
    transpose_b_ = args.flag(7);
    a_ = transpose_a_ ? sigma_matrix{nullptr, k, m, m} : sigma_matrix{nullptr, m, k, k};
    b_ = transpose_b_ ? sigma_matrix{nullptr, n, k, k} : sigma_matrix{nullptr, k, n, n};
    const void* const a = operands_.exact(args.value(0), "a", product(m, k)).data;
    const void* const b = operands_.exact(args.value(1), "b", product(k, n)).data;
    const View c = operands_.exact(args.value(2), "c", product(m, n));
    c_ = {c.data, m, n, n};
    result_ = c.block;
    const size_t bytes = element_size(operands_.dtype());
    a_.data = const_cast<void*>(copies_.add(operands_, a, static_cast<size_t>(m * k) * bytes));
    b_.data = const_cast<void*>(copies_.add(operands_, b, static_cast<size_t>(k * n) * bytes));
  }

 protected:
  Outcome run() override {
    Outcome outcome;
    const Engine e = operands_.place()->engine(operands_.dtype());
    outcome.status = e.backend->gemm(e.context, e.dtype, transpose_a_, transpose_b_, &a_, &b_, false, nullptr, &c_);
    if (outcome.status != SIGMA_OK) outcome.message = e.backend->last_error();
    return outcome;
  }

 private:
  Operands operands_;
  InputCopies copies_;
  std::shared_ptr<DeviceBlock> result_;
  bool transpose_a_ = false;
  bool transpose_b_ = false;
  sigma_matrix a_ = {};
  sigma_matrix b_ = {};
  sigma_matrix c_ = {};
};

// gemmLater(a, b, c, m, n, k, transposeA, transposeB): Promise<void>; the same as gemm
Napi::Value gemm_later(Args& args) {
  auto task = std::make_unique<GemmTask>(args.environment());
  task->read(args);
  return Task::start(args.env(), args.caller("gemm"), std::move(task), args.value(2));
}

// One asynchronous svd call. The outputs, and inputs that are `owned`, are memory that nobody else has.
class SvdTask : public Task {
 public:
  SvdTask(const Environment& environment, sigma_svd_driver driver) : operands_(environment), driver_(driver) {}

  // One more matrix: a (m, n) from element `first` on, to the results number `at` of u (m, r), s (r), vt (r, n).
  void add(Napi::Object problem) {
    const int64_t m = integer_of(problem.Get("rows"), "rows", 1);
    const int64_t n = integer_of(problem.Get("columns"), "columns", 1);
    const int64_t first = integer_of(problem.Get("first"), "first", 0);
    const int64_t at = integer_of(problem.Get("at"), "at", 0);
    const int64_t r = std::min(m, n);
    const auto result = [&](const char* name, int64_t size) {
      const Napi::Value value = problem.Get(name);
      results_.push_back(operands_.any(value, name).block);
      return operands_.part(value, name, product(at, size), size);
    };
    const void* const a = operands_.part(problem.Get("a"), "a", first, product(m, n));
    const bool owned = problem.Get("owned").ToBoolean();
    const size_t bytes = static_cast<size_t>(m * n) * element_size(operands_.dtype());
    const void* const copy = owned ? a : copies_.add(operands_, a, bytes);
    problems_.push_back({copy, result("u", product(m, r)), result("s", r), result("vt", product(r, n)), m, n});
  }

 protected:
  Outcome run() override {
    Outcome outcome;
    const auto count = static_cast<int64_t>(problems_.size());
    const Engine e = operands_.place()->engine(operands_.dtype());
    if (e.backend->svd == nullptr) return {SIGMA_UNSUPPORTED, "this backend has no such operation", 0};
    outcome.status = e.backend->svd(e.context, e.dtype, driver_, problems_.data(), count, &outcome.failed);
    if (outcome.status != SIGMA_OK) outcome.message = e.backend->last_error();
    return outcome;
  }

 private:
  Operands operands_;
  sigma_svd_driver driver_;
  InputCopies copies_;
  std::vector<std::shared_ptr<DeviceBlock>> results_;
  std::vector<sigma_svd_problem> problems_;
};

// svd(driver, problems): Promise<void>; problems is a list of { a, first, owned, u, s, vt, at, rows, columns }
Napi::Value svd(Args& args) {
  const int64_t driver = args.integer(0, "driver");
  if (driver > SIGMA_SVD_GRAM64) throw ArgumentError("driver: expected a known driver");
  if (!args.value(1).IsArray()) throw ArgumentError("problems: expected an array");
  const auto problems = args.value(1).As<Napi::Array>();
  auto task = std::make_unique<SvdTask>(args.environment(), static_cast<sigma_svd_driver>(driver));
  for (uint32_t i = 0; i < problems.Length(); ++i) {
    const Napi::Value problem = problems[i];
    if (!problem.IsObject()) throw ArgumentError("problems: expected objects");
    task->add(problem.As<Napi::Object>());
  }
  return Task::start(args.env(), args.caller("svd"), std::move(task), problems);
}

}  // namespace

void bind_linalg(Napi::Object exports) {
  export_function<gemm>(exports, "gemm");
  export_function<gemm_later>(exports, "gemmLater");
  export_function<copy_matrix>(exports, "copyMatrix");
  export_function<svd>(exports, "svd");
}

}  // namespace sigma
