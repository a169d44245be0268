/** sigmatune's public surface, and nothing else. */
export { type CountedMethod, type CountedModule, parameterCount } from './families/count.js';
export { type MixOptions, mixAdapters } from './families/mix.js';
export * from './families/registry.js';
export { type InspectedAdapter, inspectAdapters, type SaveAdaptersOptions, saveAdapters } from './files/adapters.js';
export {
  type ListedCheckpoint,
  type LoadCheckpointOptions,
  listCheckpoints,
  loadCheckpoint,
  type SaveCheckpointOptions,
  saveCheckpoint,
} from './files/checkpoint.js';
export { type FactorCache, type FactorCacheOptions, openFactorCache } from './files/factor-cache.js';
export { type LoadAdaptersOptions, loadAdapters } from './files/load-adapters.js';
export type { ExportedLora, ExportLoraOptions } from './files/lora.js';
export {
  openSafetensors,
  type ReadOptions,
  readSafetensors,
  SafetensorsFile,
  type SafetensorsInfo,
} from './files/safetensors.js';
export type { TrainingRun } from './files/training-run.js';
export { type WriteSafetensorsOptions, writeSafetensors } from './files/write-safetensors.js';
export type { Family, FromOptions } from './layers/construct.js';
export { coreGradient } from './layers/core-gradient.js';
export { applyEach, forwardEach } from './layers/each.js';
export type { CoreDiagonal, Telemetry } from './layers/telemetry.js';
export type { AdaptedLinear, AdapterOptions, OutOption, SpectrumOptions, TrainedNumbers } from './layers/types.js';
export { type DecomposeOptions, decompose, type Factors, type Storage } from './linalg/decompose.js';
export { effectiveRank, effectiveRankGradient } from './linalg/effective-rank.js';
export type { FactorError } from './linalg/factor-error.js';
export { type MatmulOptions, matmul } from './linalg/matmul.js';
export { type NumericalRankOptions, numericalRank } from './linalg/numerical-rank.js';
export { type Svd, type SvdLike, type SvdOptions, svd } from './linalg/svd.js';
export { adaptModel } from './model/adapt.js';
export type { AdaptedModel } from './model/adapted.js';
export { type DecomposeModelOptions, decomposeModel } from './model/decompose-model.js';
export { type ExportGgufLoraOptions, exportGgufLora } from './model/export-gguf.js';
export { exportLora } from './model/export-lora.js';
export { type ExportMergedOptions, exportMerged } from './model/export-merged.js';
export { type LoadModelOptions, loadModel } from './model/load-adapted.js';
export type { Layout } from './model/modules.js';
export {
  type FamilyName,
  type FamilyOptions,
  type ModelOptions,
  type ModuleChoice,
  type ModuleRow,
  type Progress,
  planModel,
} from './model/plan.js';
export { type ArchitectureName, type TargetSet, targetsOf } from './model/presets.js';
export type { DecomposedRow } from './model/share.js';
export type { Targets } from './model/targets.js';
export type { BackwardOptions, Pass, PulledBack } from './operator/pass.js';
export { AdamW, type AdamWOptions } from './optim/adamw.js';
export { AdaptiveVectorFreezing, type FreezingOptions } from './optim/adaptive-vector-freezing.js';
export { clipGradNorm } from './optim/clip.js';
export type { ParameterGroup } from './optim/groups.js';
export type { Optimizer } from './optim/optimizer.js';
export { cosineSchedule, linearSchedule, type ScheduleOptions } from './optim/schedule.js';
export { Sgd, type SgdOptions } from './optim/sgd.js';
export { movedState } from './optim/state.js';
export type { ByName } from './runtime/check.js';
export {
  cudaStatus,
  type Device,
  type DeviceStatus,
  setThreads,
  systemInfo,
  threads,
  timed,
} from './runtime/device.js';
export { type ErrorCode, SigmaError } from './runtime/errors.js';
export type { Band } from './sparse/banded.js';
export { type PatternSize, SparsityPattern } from './sparse/pattern.js';
export { sddmm, spmm } from './sparse/products.js';
export type { RandomOptions } from './sparse/random-cells.js';
export { type Regrown, regrow } from './sparse/regrow.js';
export { type TensorOptions, tensor, zeros } from './tensor/create.js';
export type { DType, MatrixDType, Real, TypedArrayOf } from './tensor/dtype.js';
export { memory } from './tensor/memory.js';
export type { Parameter, ParameterLike } from './tensor/parameter.js';
export { tidy } from './tensor/scope.js';
export { type MatrixShape, type Shape, type StackShape, Tensor, type VectorShape } from './tensor/tensor.js';
export { type DimensionedData, type ShapedData, type TensorLike, toLike, type View } from './tensor/view.js';
