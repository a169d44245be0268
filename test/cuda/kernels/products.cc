// spmm: out = C dense or Cᵀ dense, for every pattern, layout and form of the core.
#include "cuda/runtime/plan.h"
#include "families.h"
#include "harness.h"
#include "pattern.h"

namespace check {
namespace {

// Which parts a core has.
struct Form {
  bool diagonal, gate, offset, origin, rectified;
};
constexpr Form kForms[] = {
    {true, false, false, false, false}, {true, true, false, false, false}, {false, true, false, false, false},
    {true, true, false, true, true},    {true, true, true, true, true},    {true, false, true, false, true},
};

// Aligned rows with padding; packed rows, each possibly misaligned; all rows off by one number.
constexpr Layout kLayouts[] = {{0, 0}, {16, 0}, {3, 1}};

template <class T>
struct Core {
  using V = Number<T>;
  std::vector<V> diagonal, offset, origin, values, gate;
  sigma_pattern pattern = {};
  sigma_core view = {};

  Core(int64_t size, const Pattern* given, Form form)
      : diagonal(random_vector<V>(size, 11)), offset(random_vector<V>(size, 15)),
        origin(random_vector<V>(size, 12)), gate{V(0.3)} {
    view.size = size;
    if (form.diagonal) view.diagonal = diagonal.data();
    if (form.offset) view.offset = offset.data();
    if (form.origin) view.origin = origin.data();
    view.rectified = form.rectified;
    if (given == nullptr) return;
    pattern = given->view();
    values = random_vector<V>(pattern.entries, 13);
    view.pattern = &pattern;
    view.values = values.data();
    if (form.gate) view.gate = gate.data();
  }
  double d(int64_t i) const {
    const auto at = static_cast<size_t>(i);
    const double given = number(diagonal[at]) + (view.offset == nullptr ? 0 : number(offset[at]));
    const double present = view.rectified != 0 && given < 0 ? 0 : given;
    return view.origin == nullptr ? present : present - number(origin[at]);
  }
  double g() const { return view.gate == nullptr ? 1 : 1 / (1 + std::exp(-number(gate[0]))); }
};

template <class T>
std::vector<Sum> reference(const Core<T>& core, const Pattern* pattern, bool transpose, const Matrix<T>& dense) {
  const int64_t tokens = dense.columns();
  std::vector<Sum> sums(static_cast<size_t>(dense.rows() * tokens));
  for (int64_t i = 0; i < dense.rows() && core.view.diagonal != nullptr; ++i) {
    for (int64_t t = 0; t < tokens; ++t) sums[static_cast<size_t>(i * tokens + t)].add(core.d(i) * dense(i, t));
  }
  for (size_t p = 0; pattern != nullptr && p < pattern->cells().size(); ++p) {
    const auto [row, column] = pattern->cells()[p];
    const int64_t to = transpose ? column : row;
    const int64_t from = transpose ? row : column;
    const double factor = core.g() * number(core.values[p]);
    for (int64_t t = 0; t < tokens; ++t) sums[static_cast<size_t>(to * tokens + t)].add(factor * dense(from, t));
  }
  return sums;
}

template <class T>
void expect_product(const Core<T>& core, const Pattern* pattern, Matrix<T>& dense, Layout out_layout,
                    const std::string& name) {
  for (const bool transpose : {false, true}) {
    const std::string what = name + (transpose ? ", transposed" : "");
    const Matrix<T> out = repeatable(what, [&] {
      sigma_context context(0);
      Matrix<T> result(dense.rows(), dense.columns(), out_layout);
      sigma::cuda::spmm(context, {kReal<T>, transpose, &core.view, dense.view(), result.view()});
      return result;
    });
    const std::vector<Sum> want = reference(core, pattern, transpose, dense);
    int wrong = 0;
    for (size_t at = 0; at < want.size(); ++at) {
      const auto i = static_cast<int64_t>(at) / dense.columns();
      wrong += !close<T>(out(i, static_cast<int64_t>(at) % dense.columns()), want[at]);
    }
    expect(wrong == 0, what + ": " + std::to_string(wrong) + " numbers");
    expect(out.padding_untouched(), what + ": wrote between rows");
  }
}

template <class T>
std::string describe(const char* pattern, int64_t tokens, Layout layout, size_t form) {
  return std::string(kName<T>) + ", " + pattern + ", N = " + std::to_string(tokens) + ", layout +" +
         std::to_string(layout.padding) + " " + std::to_string(layout.offset) + ", form " + std::to_string(form);
}

template <class T>
void check_product(int64_t size, const Pattern* pattern, int64_t tokens, Layout layout, size_t form,
                   bool with_nan = false) {
  const Core<T> core(size, pattern, kForms[form]);
  Matrix<T> dense = Matrix<T>::random(size, tokens, layout, 14);
  if (with_nan) {
    dense.at(size / 2, tokens / 2) = rounded<T>(kNaN);
    dense.at(size / 3, 0) = rounded<T>(std::numeric_limits<double>::infinity());
  }
  const char* const name = pattern != nullptr ? pattern->name().c_str() : "no pattern";
  expect_product(core, pattern, dense, layout, describe<T>(name, tokens, layout, form) + (with_nan ? ", NaN" : ""));
}

template <class T>
void products_of() {
  for (const Layout layout : kLayouts) {
    for (const size_t form : {size_t{0}, size_t{2}, size_t{3}, size_t{4}, size_t{5}}) {
      for (const int64_t tokens : {1, 5, 300}) check_product<T>(19, nullptr, tokens, layout, form);
    }
  }
  size_t turn = 0;
  for (const Pattern& pattern : all_patterns()) {
    const int64_t size = pattern.view().size;
    for (const int64_t tokens : {1, 7, 65, 261}) {
      check_product<T>(size, &pattern, tokens, kLayouts[turn % 3], turn / 3 % std::size(kForms));
      ++turn;
    }
    check_product<T>(size, &pattern, 37, kLayouts[0], turn % std::size(kForms), true);
  }
  // Below, at and above whole vectors and tiles.
  for (const Pattern& pattern : {Pattern::random(7, 30, 5), Pattern::band(13, 2, 1)}) {
    for (const int64_t tokens : {2, 3, 4, 8, 9, 15, 16, 17, 63, 64, 127, 128, 129, 255, 256, 257, 512, 520}) {
      for (const Layout layout : kLayouts) check_product<T>(pattern.view().size, &pattern, tokens, layout, 4);
    }
  }
}

template <class T>
void slab_products_of() {
  const Pattern patterns[] = {Pattern::random(12, 100, 6), Pattern::random(150, 900, 7), Pattern::one_row(33, 140),
                              Pattern::random(601, 2500, 8)};
  for (const Pattern& pattern : patterns) {
    const int64_t size = pattern.view().size;
    for (const int64_t vectors : {1, 2, 4}) {
      device().shared_bytes = static_cast<size_t>(size * vectors * 16);
      device().multiprocessors = 1;
      for (const int64_t tokens : {1, 37, 80}) {
        const int planned = sigma::cuda::slab_vectors(size, pattern.view().entries, tokens, sizeof(T),
                                                      device().shared_bytes, device().multiprocessors);
        expect(planned == vectors, pattern.name() + ": planned as a slab");
        for (const Layout layout : kLayouts) check_product<T>(size, &pattern, tokens, layout, size < 100 ? 4 : 1);
      }
      check_product<T>(size, &pattern, 37, kLayouts[1], 2, true);
    }
  }
}

}  // namespace

void products() {
  device().shared_bytes = 0;
  products_of<float>();
  products_of<double>();
  products_of<bfloat16>();
}

void slab_products() {
  slab_products_of<float>();
  slab_products_of<double>();
  slab_products_of<bfloat16>();
}

}  // namespace check
