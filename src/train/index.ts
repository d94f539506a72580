export {
  type DifferentiateOptions,
  differentiate,
  type PackedChunk,
  type Statistic,
  type Training
} from './differentiate.ts'
export { type Initialised, initialise } from './initialise.ts'
export {
  type Best,
  type Epoch,
  isOver,
  type LoopEnvironment,
  type LoopOptions,
  type LoopResult,
  meanScore,
  openTraining,
  type Prepared,
  rateFeeds,
  type StepPlace,
  train,
  type Validation
} from './loop.ts'
export type { LossTarget, LossTerm } from './losses.ts'
export type { Optimizer } from './optimizers.ts'
export { type Schedule, scheduled } from './schedule.ts'
export { firstState, nextState, type TrainState, trainedValues, withMasks, withValues } from './state.ts'
