/** A federation in one process: virtual clients with parts of one data set. The same seed gives the same bytes, whoever trains. */
import { PareError, stopIfAborted } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import { movedToGrid } from '../passes/train/peak-steps.ts'
import { withValues } from '../train/index.ts'
import type { Model } from '../types.ts'
import type { Residual, Turned } from './client.ts'
import { combineFor } from './combine.ts'
import { fromVector } from './manifest.ts'
import { type FederationRecipe, isRoundedIn, sendsDifferences } from './recipe.ts'
import { commitRound, openRound, type Round, type Run, startRun, type Taken, takeUpdate } from './server.ts'
import type { Manifest } from './types.ts'
import { headerBytes, trailerBytes } from './wire.ts'

/** One client's turn, as it is handed to whoever trains. Plain data, so that a worker can be given it. */
export interface VirtualTurn {
  readonly client: number
  readonly message: Uint8Array
  readonly previous?: Float32Array | undefined
  readonly seed: string
  readonly residual?: Residual | undefined
  readonly factor?: number | undefined
}

/** Trains virtual clients, here or in workers. */
export interface Trainers {
  readonly manifest: Manifest
  readonly initial: Float32Array
  /** Results in the order of the turns. */
  run(turns: readonly VirtualTurn[], signal?: AbortSignal): Promise<readonly Turned[]>
  close(): Promise<void>
}

export interface SimulateOptions {
  readonly clients: number
  readonly seed: number | string
  /** Share of clients that send `factor` times their difference. */
  readonly hostile?: { readonly share: number; readonly factor: number }
  /** Rounds from one look at the model to the next; the last `looksAtEnd` rounds are all looked at. Default 5 and 10. */
  readonly lookEvery?: number
  readonly looksAtEnd?: number
}

export interface SimulateEnvironment {
  readonly trainers: Trainers
  /** Score of a model on data that no client has. */
  readonly score?: (model: Model) => Promise<number>
  readonly signal?: AbortSignal
  /** Told after every round; awaited. */
  onRound?(entry: RoundEntry, state: SimulateState): void | Promise<void>
}

/** One round in numbers. Bytes are those of whole messages; payloads are without header and hash. */
export interface RoundEntry {
  /** From 1. */
  readonly round: number
  readonly clients: readonly number[]
  readonly loss: number
  readonly steps: number
  readonly up: number
  readonly upPayload: number
  readonly down: number
  readonly downPayload: number
  readonly score?: number
  /** Updates that were refused for numbers that are not finite or too large; absent: none. */
  readonly refused?: number
  /** Share of the weights that are zero. */
  readonly zeros?: number
}

/** All that a simulation needs to go on as if it had never stopped. */
export interface SimulateState {
  readonly run: Run
  /** By client. */
  readonly residuals: ReadonlyMap<number, Residual>
  readonly previous?: Float32Array
  readonly history: readonly RoundEntry[]
}

export interface Simulated {
  readonly model: Model
  readonly state: SimulateState
}

/** Runs all rounds of a recipe, from the start or from a state. */
export async function simulate(
  model: Model,
  recipe: FederationRecipe,
  o: SimulateOptions,
  env: SimulateEnvironment,
  from?: SimulateState
): Promise<Simulated> {
  const { manifest, initial } = env.trainers
  if (sendsDifferences(recipe) && recipe.clientsPerRound < o.clients)
    throw new PareError(
      'E_OPTION',
      `a model goes down as differences to clients that take part in every round, not to ${recipe.clientsPerRound} of ${o.clients}`,
      { where: 'down', hint: 'send it in 8 or 4 bits' }
    )
  const id = Uint8Array.from(
    { length: 16 },
    (
      (random) => () =>
        random.below(256)
    )(rng(o.seed).fork('run'))
  )
  let state: SimulateState = from ?? {
    run: startRun(recipe, manifest, initial, id),
    residuals: new Map(),
    history: []
  }
  while (state.run.round < recipe.rounds) {
    stopIfAborted(env.signal)
    const made = await oneRound(model, recipe, o, env, state)
    state = made
    await env.onRound?.(made.history.at(-1) as RoundEntry, state)
  }
  return { model: modelOf(model, state.run), state }
}

/** The model with the server's numbers, rounded where clients trained it so. */
export function modelOf(model: Model, { manifest, state, recipe, round }: Run): Model {
  const made = withValues(model, fromVector(manifest, state.model))
  return recipe.quantize && isRoundedIn(recipe, round - 1) ? movedToGrid(made, recipe.quantize.bits) : made
}

async function oneRound(
  model: Model,
  recipe: FederationRecipe,
  o: SimulateOptions,
  env: SimulateEnvironment,
  before: SimulateState
): Promise<SimulateState> {
  const { run } = before
  const chosen = chosenFor(run.round, recipe, o)
  const round = await openRound(run, o.seed)
  const hostile = hostileAmong(o)
  const turns = chosen.map(
    (client): VirtualTurn => ({
      ...{ client, message: round.message, seed: `${o.seed}/client ${client}`, previous: run.sent },
      residual: before.residuals.get(client),
      ...(hostile.has(client) ? { factor: o.hostile?.factor } : {})
    })
  )
  const turned = await env.trainers.run(turns, env.signal)
  const residuals = new Map(before.residuals)
  const updates: Taken[] = []
  const combine = combineFor(recipe)
  for (const [i, t] of turned.entries()) {
    const taken = await takenFrom(run, round, t)
    const kept = taken ? t.residual : t.untaken
    if (taken && combine) updates.push(taken)
    if (kept) residuals.set(chosen[i] as number, kept)
  }
  const { count } = round.sums
  const mean = count > 0 ? combine?.(updates, before.previous) : new Float32Array(run.manifest.size)
  const after = commitRound(run, round, mean)
  const isLook = looksAt(after.round, recipe.rounds, o)
  const score = isLook ? await env.score?.(modelOf(model, after)) : undefined
  const entry = entryOf(after, chosen, round, turned, score)
  return { run: after, residuals, history: [...before.history, entry], ...(mean ? { previous: mean } : {}) }
}

/** The update, or `undefined` where its numbers are refused: the round goes on without it. */
async function takenFrom(run: Run, round: Round, { message }: Turned): Promise<Taken | undefined> {
  try {
    return await takeUpdate(run, round, message)
  } catch (e) {
    if (e instanceof PareError && e.code === 'E_DATA') return undefined
    throw e
  }
}

/** The clients of a round, in the order of their numbers. */
const chosenFor = (
  round: number,
  { clientsPerRound }: FederationRecipe,
  { clients, seed }: SimulateOptions
): number[] =>
  rng(seed)
    .fork(`clients of round ${round}`)
    .permutation(clients)
    .slice(0, clientsPerRound)
    .sort((a, b) => a - b)

function hostileAmong({ clients, seed, hostile }: SimulateOptions): ReadonlySet<number> {
  if (!hostile) return new Set()
  const order = rng(seed).fork('hostile').permutation(clients)
  return new Set(order.slice(0, Math.round(hostile.share * clients)))
}

const looksAt = (round: number, rounds: number, { lookEvery = 5, looksAtEnd = 10 }: SimulateOptions): boolean =>
  round % lookEvery === 0 || round > rounds - looksAtEnd

function entryOf(
  after: Run,
  clients: readonly number[],
  { message, sums }: Round,
  turned: readonly Turned[],
  score: number | undefined
): RoundEntry {
  const sum = (of: (t: Turned) => number): number => turned.reduce((n, t) => n + of(t), 0)
  const frame = (headerBytes + trailerBytes) * clients.length
  const [up, down] = [sum((t) => t.message.length), message.length * clients.length]
  const { support } = after
  const refused = turned.length - sums.count
  return {
    ...{ round: after.round, clients, up, down, upPayload: up - frame, downPayload: down - frame },
    loss: sum((t) => t.loss * t.samples) / sum((t) => t.samples),
    steps: sum((t) => t.steps),
    ...(score === undefined ? {} : { score }),
    ...(refused > 0 ? { refused } : {}),
    ...(support ? { zeros: support.filter((s) => s === 0).length / support.length } : {})
  }
}
