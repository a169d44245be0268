#include "layer.h"

#include <array>
#include <memory>
#include <string>
#include <utility>

#include "handles.h"

namespace sigma {
namespace {

constexpr napi_type_tag kLayerTag = {0x7d30c9e1f2ab4685, 0x94b7d1c86e0f532a};

enum Term { kBase, kU, kVt, kDiagonal, kOffset, kOrigin, kPattern, kValues, kGate, kBias, kTerms };
constexpr std::array<const char*, kTerms> kNames = {"base",   "u",       "vt",     "diagonal", "offset",
                                                    "origin", "pattern", "values", "gate",     "bias"};

// Holds weak references: the owner of the layer keeps the operands alive, not this handle.
struct LayerTerms : Owned {
  explicit LayerTerms(napi_env env_) : env(env_) {}
  ~LayerTerms() override {
    for (const napi_ref term : terms) {
      if (term != nullptr) napi_delete_reference(env, term);
    }
  }

  napi_env env;
  int64_t in = 0, out = 0, rank = 0;
  bool transposed = false, rectified = false;
  std::array<napi_ref, kTerms> terms{};  // null if a term is absent
};

const LayerTerms& terms_of(Napi::Value handle) {
  const Owned* const found = Handles::behind(handle.Env(), handle, kLayerTag);
  if (found == nullptr) throw ArgumentError("layer: expected the handle of a layer");
  return *static_cast<const LayerTerms*>(found);
}

// Reads a layer's operands for one call.
class Reader {
 public:
  Reader(const LayerTerms& layer, Operands& operands) : layer_(layer), operands_(operands) {}

  bool has(Term term) const { return layer_.terms[term] != nullptr; }
  Napi::Value value(Term term) const {
    napi_value found = nullptr;
    if (napi_get_reference_value(layer_.env, layer_.terms[term], &found) != napi_ok || found == nullptr) {
      throw ArgumentError(std::string(kNames[term]) + ": expected a live operand, got a collected one");
    }
    return {layer_.env, found};
  }
  sigma_matrix matrix(Term term, int64_t rows, int64_t columns) const {
    return operands_.matrix(value(term), kNames[term], rows, columns);
  }
  void* vector(Term term, int64_t length) const {
    return has(term) ? operands_.vector(value(term), kNames[term], length) : nullptr;
  }

 private:
  const LayerTerms& layer_;
  Operands& operands_;
};

}  // namespace

Napi::Object make_layer(Napi::Env env, const Environment& environment, Napi::Object given) {
  auto layer = std::make_unique<LayerTerms>(env);
  layer->in = integer_of(given.Get("in"), "in", 1);
  layer->out = integer_of(given.Get("out"), "out", 1);
  layer->rank = integer_of(given.Get("rank"), "rank", 1);
  layer->transposed = given.Get("transposed").ToBoolean();
  layer->rectified = given.Get("rectified").ToBoolean();
  for (size_t i = 0; i < kTerms; ++i) {
    const Napi::Value term = given.Get(kNames[i]);
    if (is_absent(env, term)) continue;
    if (napi_create_reference(env, term, 0, &layer->terms[i]) != napi_ok) {
      throw ArgumentError(std::string(kNames[i]) + ": expected an operand");
    }
  }
  return Handles::make(env, environment.handles, kLayerTag, std::move(layer), sizeof(LayerTerms), sizeof(LayerTerms));
}

AdapterLayer layer_of(Napi::Value handle, Operands& operands) {
  const LayerTerms& terms = terms_of(handle);
  const auto [in, out, rank] = std::array{terms.in, terms.out, terms.rank};
  const Reader read(terms, operands);
  AdapterLayer layer{};
  layer.transposed = terms.transposed;
  const auto [rows, columns] = terms.transposed ? std::pair{in, out} : std::pair{out, in};
  layer.u = read.matrix(kU, rows, rank);
  layer.vt = read.matrix(kVt, rank, columns);
  if (read.has(kBase)) layer.base = read.matrix(kBase, rows, columns);
  layer.real = operands.real();
  sigma_core& core = layer.core;
  core.size = rank;
  if (!read.has(kPattern) && read.has(kValues)) {
    if (read.has(kDiagonal) || read.has(kGate))
      throw ArgumentError("values: expected a dense core without diagonal and gate");
    layer.dense = read.vector(kValues, product(rank, rank));
  }
  core.diagonal = read.vector(kDiagonal, rank);
  core.offset = read.vector(kOffset, rank);
  core.origin = read.vector(kOrigin, rank);
  core.rectified = terms.rectified ? 1 : 0;
  if (read.has(kPattern)) {
    core.pattern = &pattern_at(read.value(kPattern), "pattern", operands.place());
    if (core.pattern->size != rank)
      throw ArgumentError("pattern: expected the size of the core, " + std::to_string(rank) + ", got " +
                          std::to_string(core.pattern->size));
    core.values = read.vector(kValues, core.pattern->entries);
    if (core.values == nullptr) throw ArgumentError("values: expected one number for each entry of the pattern");
    core.gate = read.vector(kGate, 1);
  }
  layer.bias = read.vector(kBias, out);
  return layer;
}

void use_snapshot(Operands& operands, AdapterLayer& layer, const Snapshot& snapshot) {
  sigma_core& core = layer.core;
  const auto [diagonal, values, gate] = snapshot;
  const auto given = [](Napi::Value value) { return !is_absent(value.Env(), value); };
  if (given(diagonal)) core.diagonal = operands.vector(diagonal, "diagonal", layer.rank());
  if (given(values) && layer.core_values() > 0) {
    (layer.dense != nullptr ? layer.dense : core.values) = operands.vector(values, "values", layer.core_values());
  }
  if (core.pattern != nullptr && given(gate)) core.gate = operands.vector(gate, "gate", 1);
}

int32_t FreshGradients::take(Napi::Value value) {
  DeviceMemory* const memory = memory_behind(value.Env(), value);
  if (memory == nullptr || !memory->block) return 0;
  blocks_.reserve(blocks_.size() + 1);
  if (!memory->block->take_zero()) return 0;
  blocks_.push_back(memory->block.get());
  return 1;
}

AdapterGradients gradients_of(Operands& operands, const AdapterLayer& layer, const GradientTargets& targets,
                              FreshGradients* fresh) {
  AdapterGradients gradients;
  const auto read = [&](Napi::Value value, const char* name, int64_t length, void*& to, int32_t& is_fresh) {
    if (is_absent(value.Env(), value)) return;
    if (fresh != nullptr) is_fresh = fresh->take(value);
    to = operands.vector(value, name, length);
  };
  auto& [diagonal, values, gate, bias] = gradients.fresh;
  read(targets.diagonal, "ddiagonal", layer.rank(), gradients.diagonal, diagonal);
  if (layer.core_values() > 0) read(targets.values, "dvalues", layer.core_values(), gradients.values, values);
  if (layer.core.pattern != nullptr) read(targets.gate, "dgate", 1, gradients.gate, gate);
  read(targets.bias, "dbias", layer.out(), gradients.bias, bias);
  return gradients;
}

}  // namespace sigma
