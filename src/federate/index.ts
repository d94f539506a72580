export { type Residual, type Turn, type Turned, takeTurn } from './client.ts'
export { type Combine, combineFor } from './combine.ts'
export { distilled, meanScores, scoresManifest, scoresTurn } from './distil.ts'
export { type Local, type LocalResult, type LocalSetup, type LocalTask, localFor, openLocal } from './local.ts'
export { fromVector, layOut, manifestHash, manifestOf, toVector, vectorOf } from './manifest.ts'
export { gamma, type Partition, type PartitionOptions, partition } from './partition.ts'
export { type Distil, type FederationRecipe, keepsResidual, parseRecipe, sendsDifferences } from './recipe.ts'
export { type ServerState, serverRules, serverStep } from './rules.ts'
export { commitRound, openRound, type Round, type Run, startRun, type Taken, takeUpdate } from './server.ts'
export {
  modelOf,
  type RoundEntry,
  type Simulated,
  type SimulateEnvironment,
  type SimulateOptions,
  type SimulateState,
  simulate,
  type Trainers,
  type VirtualTurn
} from './simulate.ts'
export { decodeState, encodeState } from './state.ts'
export { addTo, meanOf, noSums, type Room, type Sums } from './sums.ts'
export { trainersHere } from './trainers.ts'
export type { Codec, Header, LocalOptions, Manifest, Message, Part, ServerRule } from './types.ts'
export {
  decodeMessage,
  type Expected,
  encodeMessage,
  headerBytes,
  mostWeight,
  type Outgoing,
  readHeader,
  trailerBytes
} from './wire.ts'
