/** Pare's portable core: everything here runs in Node and in a browser alike. */
export { type Code, codes, type Details, PareError } from './base/errors.ts'
export type { Optioned } from './base/options.ts'
export { type Rng, rng } from './base/random.ts'
export type { Tuning } from './compile/index.ts'
export { type Adaptive, adaptiveOf } from './data/adaptive.ts'
export * from './data/index.ts'
export {
  type Kept,
  lowestKept,
  type Promised,
  type Routes,
  type Routing,
  routed,
  thresholdsFor
} from './data/thresholds.ts'
export * from './federate/index.ts'
export type { JoinEvent } from './federate/net/at.ts'
export { type FederationOptions, joinFederation } from './federate/net/browser.ts'
export type { Invitation, RunInfo } from './federate/net/forms.ts'
export type { Joined } from './federate/net/join.ts'
export {
  formatFor,
  formats,
  type ReadModelOptions,
  readModel,
  readNoted,
  type WriteModelOptions,
  writeModel
} from './formats/index.ts'
export type * from './formats/types.ts'
export { bind } from './ir/bind.ts'
export { type Builder, builder } from './ir/build.ts'
export { check } from './ir/check.ts'
export { type AddOptions, type Draft, edit } from './ir/edit.ts'
export { allGraphs, constant, constants, consumers, type GraphView, opName, producer } from './ir/graph.ts'
export type {
  Binary,
  Bits,
  Cell,
  Expr,
  Kind,
  Local,
  Packed,
  Place,
  Relation,
  Routine,
  Space,
  Stmt,
  Unary
} from './ir/loops.ts'
export { print, printType } from './ir/print.ts'
export { elementCount, tensor, toFloats, toNumbers } from './ir/tensor.ts'
export { model, parse } from './ir/text.ts'
export {
  type CostLine,
  type CostModel,
  costModelFrom,
  type NodeTime,
  type Predicted,
  predict
} from './measure/cost-model.ts'
export { type Compared, compareEngines, type Engine, type EnginesOptions } from './measure/engines.ts'
export {
  type EvaluateOptions,
  evaluate,
  type HeldOutputs,
  metricDrops,
  metricIntervals,
  type Outputs,
  type Scores
} from './measure/evaluate.ts'
export { type GateBounds, gateOf } from './measure/gate.ts'
export { pairedDrop, wilson } from './measure/intervals.ts'
export { type Judging, type JudgingInput, judgingOf } from './measure/judging.ts'
export type { KernelNetwork } from './measure/kernel-networks.ts'
export { type InterleaveOptions, interleave, type Timed, type TimedRun } from './measure/latency.ts'
export { type LayersOptions, layersOf } from './measure/layers.ts'
export { type Parameters, parametersOf, type Sizes, sizeOf } from './measure/size.ts'
export { costOf, type ModelCost, type Shapes } from './ops/cost.ts'
export { opFor, ops } from './ops/index.ts'
export { inferShapes, viewOf } from './ops/infer.ts'
export type * from './ops/types.ts'
export { passes, passFor } from './passes/index.ts'
export { type AnyPass, definePass, type PassDefinition, parseOptions } from './passes/pass.ts'
export { type Applied, applyRecipe, type RecipeOptions, type Surroundings } from './passes/recipe.ts'
export type * from './passes/types.ts'
export { printGate, summaryOf } from './report/gate.ts'
export type { GroupLine } from './report/groups.ts'
export { printPage } from './report/html.ts'
export type { InspectedStages, Inspection, Saving, Share } from './report/inspection.ts'
export { noStyle, type Style } from './report/table.ts'
export { type Ending, printOpening, printReport } from './report/text.ts'
export type * from './report/types.ts'
export { headline } from './report/words.ts'
export type {
  OrtModule,
  OrtSession,
  OrtSessionOptions,
  OrtTensor,
  OrtValueInfo,
  ScratchFolder,
  ScratchFolders
} from './runtime/engine.ts'
export { type Host, ortRunner } from './runtime/index.ts'
export type * from './runtime/types.ts'
export {
  type CompressResult,
  compress,
  type Objective,
  objectives
} from './search/compress.ts'
export type { CompressInput, Journal, Staged } from './search/input.ts'
export type { AskedPoint, Explorer, ExplorerRecord, SeenPoint, Task } from './search/space/explorer.ts'
export { hypervolume } from './search/space/front.ts'
export type { Goal, Weights } from './search/space/goal.ts'
export { type Project, projection } from './search/space/project.ts'
export type { Raced } from './search/space/race.ts'
export { solvedWithin } from './search/space/solve.ts'
export type {
  Budgets,
  Factor,
  Kind as UnitKind,
  Load,
  Point,
  Space as SearchSpace,
  Unit
} from './search/space/space.ts'
export { explorers } from './search/space/strategies/index.ts'
export { strategies } from './search/strategies/index.ts'
export type { Problem, Strategy, StrategyRecord } from './search/strategy.ts'
export type { Asked, Failed, Identity, Measured, Proposal, Timing, Trial } from './search/trial.ts'
export { conforms, type Misfit, refuseMisfits, targetFor, targetOfFile, targets } from './targets/index.ts'
export type * from './targets/types.ts'
export * from './train/index.ts'
export type * from './types.ts'
