// sddmm: samples[p] = Σ_t a[i_p, t] b[j_p, t]; core_gradient: the gradients from the samples.
#include "cuda/runtime/plan.h"
#include "families.h"
#include "harness.h"
#include "pattern.h"

namespace check {
namespace {

constexpr Layout kLayouts[] = {{0, 0}, {16, 0}, {3, 1}};

template <class T>
void check_samples(const Pattern& pattern, int64_t tokens, Layout layout, bool with_nan = false) {
  using V = Number<T>;
  const sigma_pattern view = pattern.view();
  Matrix<T> a = Matrix<T>::random(view.size, tokens, layout, 21);
  Matrix<T> b = Matrix<T>::random(view.size, tokens, layout, 22);
  if (with_nan) {
    a.at(view.size / 2, tokens - 1) = rounded<T>(kNaN);
    b.at(view.size / 3, tokens / 2) = rounded<T>(kNaN);
  }
  const std::string what = std::string(kName<T>) + ", " + pattern.name() + ", N = " + std::to_string(tokens) +
                           ", layout +" + std::to_string(layout.padding) + " " + std::to_string(layout.offset) +
                           (with_nan ? ", NaN" : "");
  const std::vector<V> samples = repeatable(what, [&] {
    sigma_context context(0);
    std::vector<V> result(static_cast<size_t>(view.entries), static_cast<V>(kNaN));
    sigma::cuda::sddmm(context, {kReal<T>, &view, a.view(), b.view(), result.data()});
    return result;
  });
  int wrong = 0;
  for (size_t p = 0; p < samples.size(); ++p) {
    const auto [row, column] = pattern.cells()[p];
    Sum want;
    for (int64_t t = 0; t < tokens; ++t) want.add(a(row, t) * b(column, t));
    wrong += !close<V>(number(samples[p]), want);
  }
  expect(wrong == 0, what + ": " + std::to_string(wrong) + " samples");
}

template <class T>
void samples_of() {
  size_t turn = 0;
  for (const Pattern& pattern : all_patterns()) {
    for (const int64_t tokens : {1, 7, 130, 290}) check_samples<T>(pattern, tokens, kLayouts[turn++ % 3]);
    check_samples<T>(pattern, 37, kLayouts[0], true);
  }
  // Below, at and above whole vectors, tiles and splits.
  for (const Pattern& pattern : {Pattern::random(7, 30, 5), Pattern::band(13, 2, 1)}) {
    for (const int64_t tokens : {2, 3, 4, 8, 9, 63, 64, 65, 127, 128, 129, 255, 256, 257, 511, 512, 513, 1025, 1700}) {
      for (const Layout layout : kLayouts) check_samples<T>(pattern, tokens, layout);
    }
  }
}

template <class T>
void slab_samples_of() {
  const Pattern patterns[] = {Pattern::random(12, 100, 6), Pattern::one_row(5, 70)};
  for (const Pattern& pattern : patterns) {
    const sigma_pattern view = pattern.view();
    for (const int64_t vectors : {1, 2, 4}) {
      device().shared_bytes = static_cast<size_t>(view.size * vectors * 16);
      // One slab for each split, and several.
      const int64_t slab = vectors * 16 / static_cast<int64_t>(sizeof(T));
      for (const int64_t tokens : {127 * slab + 1, 300 * slab + 3}) {
        const int planned =
            sigma::cuda::slab_vectors(view.size, view.entries, tokens, sizeof(T), device().shared_bytes, 128);
        expect(planned == vectors, pattern.name() + ": planned as a slab");
        check_samples<T>(pattern, tokens, kLayouts[static_cast<size_t>(vectors) % 3]);
      }
    }
  }
  // More entries than threads, and NaN.
  const Pattern large = Pattern::random(70, 1500, 9);
  device().shared_bytes = 70 * 16;
  check_samples<T>(large, 128 * 16 / static_cast<int64_t>(sizeof(T)), kLayouts[0], true);
}

// ── core_gradient ────────────────────────────────────────────────────────────────────────────────────────

template <class T>
void check_core_gradient(int64_t entries, bool with_gate, bool with_values, bool with_dgate, bool fresh = false) {
  using V = Number<T>;
  const std::string what = std::string(kName<T>) + ", " + std::to_string(entries) + " entries" +
                           (with_gate ? ", gate" : "") + (with_values ? ", values" : "") +
                           (with_dgate ? ", dgate" : "") + (fresh ? ", fresh" : "");
  sigma_pattern pattern = {};
  pattern.size = 1;
  pattern.entries = entries;
  const auto values = random_vector<V>(entries, 31);
  const auto samples = random_vector<V>(entries, 32);
  const auto start = random_vector<V>(entries, 33);
  const V gate = V(-0.7);
  sigma_core core = {};
  core.size = 1;
  core.pattern = &pattern;
  core.values = values.data();
  core.gate = with_gate ? &gate : nullptr;
  const double g = with_gate ? 1 / (1 + std::exp(-number(gate))) : 1;

  // dvalues, followed by dgate.
  const std::vector<V> got = repeatable(what, [&] {
    sigma_context context(0);
    const V kNan = static_cast<V>(kNaN);
    std::vector<V> dvalues = fresh ? std::vector<V>(start.size(), kNan) : start;
    const auto dgate = std::make_unique<V>(fresh ? kNan : V(2));
    sigma::cuda::core_gradient(context, {kReal<T>, &core, samples.data(), with_values ? dvalues.data() : nullptr,
                                         with_dgate ? dgate.get() : nullptr, fresh, fresh});
    dvalues.push_back(*dgate);
    return dvalues;
  });
  int wrong = 0;
  Sum dgate;
  if (!fresh) dgate.add(2);
  for (size_t p = 0; p < start.size(); ++p) {
    Sum want;
    if (!fresh) want.add(number(start[p]));
    if (with_values) want.add(g * number(samples[p]));
    wrong += !close<V>(number(got[p]), want);
    if (with_dgate) dgate.add(g * (1 - g) * number(values[p]) * number(samples[p]));
  }
  expect(wrong == 0, what + ": " + std::to_string(wrong) + " of dvalues");
  expect(close<V>(number(got.back()), dgate), what + ": dgate");
}

template <class T>
void core_gradients_of() {
  for (const int64_t entries : {1, 31, 256, 1000, 5000, 70001}) {
    for (const bool with_gate : {false, true}) {
      check_core_gradient<T>(entries, with_gate, true, true);
      check_core_gradient<T>(entries, with_gate, true, true, true);
      check_core_gradient<T>(entries, with_gate, true, false);
      check_core_gradient<T>(entries, with_gate, false, true);
    }
  }
}

}  // namespace

void samples() {
  device().shared_bytes = 0;
  samples_of<float>();
  samples_of<double>();
  samples_of<bfloat16>();
}

void slab_samples() {
  slab_samples_of<float>();
  slab_samples_of<double>();
  slab_samples_of<bfloat16>();
}

void core_gradients() {
  core_gradients_of<float>();
  core_gradients_of<double>();
  core_gradients_of<bfloat16>();
}

}  // namespace check
