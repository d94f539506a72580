export {
  type DifferentiateOptions,
  differentiate,
  type PackedChunk,
  type Statistic,
  type Training
} from './differentiate.ts'
export type { Noise } from './graph.ts'
export { type Initialised, initialise } from './initialise.ts'
export {
  type Best,
  type Epoch,
  type Feeds,
  isOver,
  type LoopEnvironment,
  type LoopOptions,
  type LoopResult,
  meanScore,
  openTraining,
  type Prepared,
  rateFeeds,
  type StepPlace,
  stepFeeds,
  train,
  type Validation
} from './loop.ts'
export type { CrossEntropy, Divergence, Features, LossTarget, LossTerm, MeanSquared, Weighted } from './losses.ts'
export type { Adam, Optimizer, Sgd } from './optimizers.ts'
export type { Chunk } from './packing.ts'
export { type Schedule, scheduled } from './schedule.ts'
export { firstState, nextState, type TrainState, trainedValues, withMasks, withValues } from './state.ts'
