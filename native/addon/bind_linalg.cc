// gemm, svdNow and copyMatrix run synchronously, gemmLater and svd off the event loop.
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

// The product of arguments 0 to 7.
sigma_gemm product_of(Args& args, Operands& operands) {
  const int64_t m = args.integer(3, "m", 1);
  const int64_t n = args.integer(4, "n", 1);
  const int64_t k = args.integer(5, "k", 1);
  sigma_gemm call{};
  call.transpose_a = args.flag(6);
  call.transpose_b = args.flag(7);
  call.a = operands.matrix(args.value(0), "a", call.transpose_a ? k : m, call.transpose_a ? m : k);
  call.b = operands.matrix(args.value(1), "b", call.transpose_b ? n : k, call.transpose_b ? k : n);
  call.c = operands.matrix(args.value(2), "c", m, n);
  call.real = operands.real();
  return call;
}

// gemm(a, b, c, m, n, k, transposeA, transposeB): c (m, n) = op(a) op(b)
Napi::Value gemm(Args& args) {
  const sigma_gemm call = product_of(args, args.operands());
  args.engine().run(&sigma_backend::gemm, call);
  return args.env().Undefined();
}

// copyMatrix(from, fromFirst, fromStride, to, toFirst, toStride, rows, columns): copies the block of `from` that begins
// at element fromFirst to the block of `to` that begins at toFirst
Napi::Value copy_matrix(Args& args) {
  const int64_t rows = args.integer(6, "rows", 1);
  const int64_t columns = args.integer(7, "columns", 1);
  const auto block = [&](size_t index, const char* name) {
    const int64_t stride = args.integer(index + 2, "stride", columns);
    const int64_t length = product(rows - 1, stride) + columns;
    const View view = args.part(index, name, args.integer(index + 1, "first"), length);
    return sigma_matrix{view.data, rows, columns, stride, view.dtype, nullptr};
  };
  const sigma_matrix from = block(0, "from");
  const sigma_matrix to = block(3, "to");
  args.engine().run(&sigma_backend::copy_matrix, sigma_copy_matrix{from, to});
  return args.env().Undefined();
}

// castMatrix(to, from, rows, columns, first, width): to (rows, columns) = the columns from `first` on of from (rows,
// width), of two types
Napi::Value cast_matrix(Args& args) {
  const int64_t rows = args.integer(2, "rows", 1);
  const int64_t columns = args.integer(3, "columns", 1);
  const int64_t first = args.integer(4, "first");
  const int64_t width = args.integer(5, "width", 1);
  if (first > width || columns > width - first) throw ArgumentError("columns: expected columns of `from`");
  const sigma_matrix to = args.matrix(0, "to", rows, columns);
  sigma_matrix from = args.matrix(1, "from", rows, width);
  if (from.scales != nullptr) {
    if (first % SIGMA_SCALE_GROUP != 0) throw ArgumentError("first: expected the first column of a group");
    from.scales += first / SIGMA_SCALE_GROUP;
  }
  from.data = static_cast<std::byte*>(from.data) + static_cast<size_t>(first) * element_size(from.dtype);
  from.columns = columns;
  args.engine().run(&sigma_backend::cast, sigma_cast{from, to});
  return args.env().Undefined();
}

// Snapshots of the inputs of an asynchronous call: the caller may overwrite, transfer or drop the originals meanwhile.
class InputCopies {
 public:
  void* add(const Operands& operands, const View& view) {
    const std::shared_ptr<Place>& place = operands.place();
    const size_t bytes = static_cast<size_t>(view.length) * element_size(view.dtype);
    if (!place->has_memory()) {
      host_.push_back(std::unique_ptr<std::byte[]>(new std::byte[bytes]));
      std::copy_n(static_cast<const std::byte*>(view.data), bytes, host_.back().get());
      return host_.back().get();
    }
    blocks_.push_back(std::make_unique<DeviceBlock>(place, bytes));
    const Engine e = place->engine();
    e.check(e.backend->copy(e.context, blocks_.back()->data(), view.data, bytes));
    return blocks_.back()->data();
  }

 private:
  std::vector<std::unique_ptr<std::byte[]>> host_;
  std::vector<std::unique_ptr<DeviceBlock>> blocks_;
};

// Points a matrix at a copy of its memory, in which scales follow their codes as before.
void move(sigma_matrix& matrix, void* to) {
  const auto* const scales = reinterpret_cast<const std::byte*>(matrix.scales);
  const auto* const codes = static_cast<const std::byte*>(matrix.data);
  if (scales != nullptr) matrix.scales = reinterpret_cast<float*>(static_cast<std::byte*>(to) + (scales - codes));
  matrix.data = to;
}

// One asynchronous gemm call. No one else has the output yet.
class GemmTask : public Task {
 public:
  explicit GemmTask(Args& args) : operands_(args.environment()), call_(product_of(args, operands_)) {
    result_ = operands_.any(args.value(2), "c").block;
    move(call_.a, copies_.add(operands_, operands_.any(args.value(0), "a")));
    move(call_.b, copies_.add(operands_, operands_.any(args.value(1), "b")));
  }

 protected:
  Outcome run() override {
    Outcome outcome;
    const Engine e = operands_.place()->engine();
    outcome.status = e.backend->gemm(e.context, &call_);
    if (outcome.status != SIGMA_OK) outcome.message = e.backend->last_error();
    return outcome;
  }

 private:
  Operands operands_;
  sigma_gemm call_;
  InputCopies copies_;
  std::shared_ptr<DeviceBlock> result_;
};

// gemmLater(a, b, c, m, n, k, transposeA, transposeB): Promise<void>; the same as gemm
Napi::Value gemm_later(Args& args) {
  auto task = std::make_unique<GemmTask>(args);
  return Task::start(args.env(), args.caller("gemm"), std::move(task), args.value(2));
}

// The matrices of a device that an svd call reads. A stack's matrices follow each other in memory, so one copy takes
// them all: an allocation and a copy for each would cost more than the queueing of the SVDs.
class StackCopies {
 public:
  // The copy of `view` becomes the matrix of `problem`.
  void add(size_t problem, const View& view) { parts_.push_back({problem, view}); }

  void copy(const Operands& operands, InputCopies& copies, std::vector<sigma_svd_problem>& problems) {
    for (auto begin = parts_.begin(); begin != parts_.end();) {
      View run = begin->view;
      auto end = begin + 1;
      for (; end != parts_.end() && follows(run, end->view); ++end) run.length += end->view.length;
      const auto* item = static_cast<const std::byte*>(copies.add(operands, run));
      for (; begin != end; ++begin) {
        problems[begin->problem].a = item;
        item += bytes_of(begin->view);
      }
    }
    parts_.clear();
  }

 private:
  struct Part {
    size_t problem;
    View view;
  };
  static size_t bytes_of(const View& view) { return static_cast<size_t>(view.length) * element_size(view.dtype); }
  static bool follows(const View& run, const View& next) {
    return next.block == run.block && next.data == static_cast<const std::byte*>(run.data) + bytes_of(run);
  }

  std::vector<Part> parts_;
};

// One svd call. No one else has the outputs, or the inputs that are `owned`.
class SvdTask : public Task {
 public:
  SvdTask(const Environment& environment, sigma_svd_driver driver) : operands_(environment), driver_(driver) {}

  // Adds a problem: the matrix (m, n) at element `first` of a. The results are item `at` of u (m, k), s (k), vt (k, n),
  // with k = `rank`.
  void add(Napi::Object problem) {
    const int64_t m = integer_of(problem.Get("rows"), "rows", 1);
    const int64_t n = integer_of(problem.Get("columns"), "columns", 1);
    const int64_t first = integer_of(problem.Get("first"), "first", 0);
    const int64_t at = integer_of(problem.Get("at"), "at", 0);
    const int64_t k = integer_of(problem.Get("rank"), "rank", 1);
    if (k > std::min(m, n)) throw ArgumentError("rank: expected at most rows and columns, got " + std::to_string(k));
    const auto result = [&](const char* name, int64_t size) {
      const Napi::Value value = problem.Get(name);
      const View view = real_part(value, name, product(at, size), size);
      results_.push_back(view.block);
      return view.data;
    };
    const View a = real_part(problem.Get("a"), "a", first, product(m, n));
    const bool owned = problem.Get("owned").ToBoolean();
    const bool on_device = operands_.place()->has_memory();
    if (!owned && on_device) stacks_.add(problems_.size(), a);
    const void* const copy = owned || on_device ? a.data : copies_.add(operands_, a);
    problems_.push_back({copy, result("u", product(m, k)), result("s", k), result("vt", product(k, n)), m, n, k});
  }

  // Copies the inputs, before anyone can write them. Call it after the last `add`.
  void seal() { stacks_.copy(operands_, copies_, problems_); }

 protected:
  Outcome run() override {
    Outcome outcome;
    const auto count = static_cast<int64_t>(problems_.size());
    const Engine e = operands_.place()->engine();
    const sigma_svd call{operands_.real(), driver_, problems_.data(), count, &outcome.failed};
    outcome.status = e.backend->svd(e.context, &call);
    if (outcome.status != SIGMA_OK) outcome.message = e.backend->last_error();
    return outcome;
  }

 private:
  // An SVD needs matrices of the vectors' type.
  View real_part(Napi::Value value, const char* name, int64_t first, int64_t length) {
    const View view = operands_.part(value, name, first, length);
    if (view.dtype != dtype_of(operands_.real())) {
      throw ArgumentError(std::string(name) + ": expected float32 or float64 numbers");
    }
    return view;
  }

  Operands operands_;
  sigma_svd_driver driver_;
  InputCopies copies_;
  StackCopies stacks_;
  std::vector<std::shared_ptr<DeviceBlock>> results_;
  std::vector<sigma_svd_problem> problems_;
};

// The call of arguments 0 and 1.
std::unique_ptr<SvdTask> svd_of(Args& args) {
  const int64_t driver = args.integer(0, "driver");
  if (driver > SIGMA_SVD_GRAM64) throw ArgumentError("driver: expected a known driver, got " + std::to_string(driver));
  if (!args.value(1).IsArray()) throw ArgumentError("problems: expected an array");
  const auto problems = args.value(1).As<Napi::Array>();
  auto task = std::make_unique<SvdTask>(args.environment(), static_cast<sigma_svd_driver>(driver));
  for (uint32_t i = 0; i < problems.Length(); ++i) {
    const Napi::Value problem = problems[i];
    if (!problem.IsObject()) throw ArgumentError("problems: expected objects");
    task->add(problem.As<Napi::Object>());
  }
  task->seal();
  return task;
}

// svd(driver, problems): Promise<void>; problems is a list of { a, first, owned, u, s, vt, at, rows, columns, rank }
Napi::Value svd(Args& args) { return Task::start(args.env(), args.caller("svd"), svd_of(args), args.value(1)); }

// svdNow(driver, problems): the same as svd, at once
Napi::Value svd_now(Args& args) {
  Task::finish(*svd_of(args));
  return args.env().Undefined();
}

}  // namespace

void bind_linalg(Napi::Object exports) {
  export_function<gemm>(exports, "gemm");
  export_function<gemm_later>(exports, "gemmLater");
  export_function<copy_matrix>(exports, "copyMatrix");
  export_function<cast_matrix>(exports, "castMatrix");
  export_function<svd>(exports, "svd");
  export_function<svd_now>(exports, "svdNow");
}

}  // namespace sigma
