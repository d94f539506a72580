/** A cost model of a target's runtime on this machine: small networks are timed, and the lines of their kernels fitted. */
import { PareError, stopIfAborted } from '../base/errors.ts'
import { rng } from '../base/random.ts'
import { arrayDataset } from '../data/arrays.ts'
import { tensor } from '../ir/tensor.ts'
import { type CostModel, costModelFrom, kernelsOf } from '../measure/cost-model.ts'
import { quantile } from '../measure/intervals.ts'
import { fitKernels, type TimedNetwork } from '../measure/kernel-fit.ts'
import { type KernelNetwork, kernelNetworks } from '../measure/kernel-networks.ts'
import { applyRecipe } from '../passes/recipe.ts'
import type { Recipe } from '../passes/types.ts'
import type { Runner, Session } from '../runtime/types.ts'
import type { Target } from '../targets/types.ts'
import type { Model, Progress, Tensor } from '../types.ts'
import { readText, writeAtomic } from './files.ts'
import { machine } from './machine.ts'
import { runnersFor } from './runtimes.ts'

/** `cpu`: the time that the process itself computes, where other work runs on the machine; for one thread. */
export type Clock = 'wall' | 'cpu'

export interface CalibrateOptions {
  readonly target: Target
  /** 1 by default. */
  readonly threads?: number
  /** Times that all networks are gone through; the quietest counts. 4 by default. */
  readonly rounds?: number
  /** `wall` by default. */
  readonly clock?: Clock
  /** By default Pare's own. */
  readonly networks?: readonly KernelNetwork[]
  readonly seed?: number
  readonly signal?: AbortSignal
  readonly progress?: Progress
}

export interface Calibration {
  readonly model: CostModel
  /** What was timed, with the relative error of lines that were fitted without it. */
  readonly networks: readonly { readonly name: string; readonly ms: number; readonly error?: number }[]
  /** Networks that the runtime did not take, or that no pass changed. */
  readonly skipped: readonly { readonly name: string; readonly why: string }[]
}

/** Throws `E_UNSUPPORTED` where the target's runtime is not here, `E_ABORTED` on request. */
export async function calibrateTarget(o: CalibrateOptions): Promise<Calibration> {
  const { target, threads = 1, rounds = 4, seed = 1, clock = 'wall', progress = () => {} } = o
  const { engine, measured } = await runnersFor(target)
  if (!measured)
    throw new PareError('E_UNSUPPORTED', `${target.runtime}, in which models for ${target.name} run, is not here`, {
      where: target.name,
      hint: 'pare inspect --target tells a time by the peaks that the record states, where it states some'
    })
  const signal = o.signal ?? new AbortController().signal
  const made = await variants(o.networks ?? kernelNetworks(), { target, engine, measured, signal, progress, seed })
  const opened: Opened[] = []
  const skipped = [...made.skipped]
  try {
    for (const [i, n] of made.all.entries()) {
      stopIfAborted(signal)
      progress('opening', i, made.all.length)
      try {
        const session = await measured.open(n.model, { threads })
        const one: Opened = { ...n, session, feeds: feedsOf(n.model, 1, seed), ms: [] }
        opened.push(one)
        if (measured.can.profile) one.profiled = await measured.open(n.model, { threads, profile: true })
      } catch (e) {
        if (!(e instanceof PareError)) throw e
        skipped.push({ name: n.name, why: e.message })
      }
    }
    await timeAll(opened, { rounds, signal, progress, seed, clock })
    for (const n of opened) if (n.profiled) n.parts = await kernelTimes(n.profiled)
  } finally {
    for (const { session, profiled } of opened) for (const s of [session, profiled]) await s?.close()
  }
  const timed = opened.map(({ name, model, ms, parts }): TimedNetwork => {
    const kernels = kernelsOf(model)
    const known = parts && new Map([...parts].filter(([op]) => kernels.some((k) => k.op === op)))
    return { name, kernels, ends: endsOf(model) / 1e6, ms: quietOf(ms), ...(known ? { parts: known } : {}) }
  })
  const { errors, ...fitted } = fitKernels(timed)
  const sorted = errors.filter((e) => e !== undefined).toSorted((a, b) => a - b)
  const { cpu, cores } = machine()
  return {
    model: {
      ...{ pareCostModel: 1, target: target.name, runtime: { name: measured.name, version: measured.version } },
      machine: { cpu, cores, threads },
      day: new Date().toISOString().slice(0, 10),
      ...{ block: fitted.block, run: fitted.run, kinds: { ...fitted.kinds } },
      error: { median: sorted[sorted.length >> 1] ?? 0, worst: sorted.at(-1) ?? 0, networks: sorted.length }
    },
    networks: timed.map(({ name, ms }, i) => ({ name, ms, ...(errors[i] === undefined ? {} : { error: errors[i] }) })),
    skipped
  }
}

// ---------------------------------------------------------------- networks

interface Around {
  readonly target: Target
  readonly engine: Runner
  readonly measured: Runner
  readonly signal: AbortSignal
  readonly progress: Progress
  readonly seed: number
}

const samples = 4

/** Each network in float, and as the target's runtime would compute it on integers. */
async function variants(
  networks: readonly KernelNetwork[],
  around: Around
): Promise<{ readonly all: readonly KernelNetwork[]; readonly skipped: Calibration['skipped'] }> {
  const all = [...networks]
  const skipped: { name: string; why: string }[] = []
  const recipe: Recipe = [['quantize-static', { calibrator: 'minmax', correctBias: false }]]
  for (const [i, { name, model }] of networks.entries()) {
    stopIfAborted(around.signal)
    around.progress('quantizing', i, networks.length)
    if (around.target.integer.length === 0) break
    const calibration = arrayDataset({ inputs: feedsOf(model, samples, around.seed) })
    const made = await applyRecipe(model, recipe, {
      ...around,
      progress: () => {},
      rng: rng(around.seed),
      data: { calibration }
    })
    if (made.model === model) skipped.push({ name: `${name}, int8`, why: 'nothing of it is computed on integers' })
    else all.push({ name: `${name}, int8`, model: made.model })
  }
  return { all, skipped }
}

/** Numbers like activations: normally distributed. */
function feedsOf({ graph }: Model, n: number, seed: number): Record<string, Tensor> {
  const draw = rng(seed)
  return Object.fromEntries(
    graph.inputs.map((id) => {
      const shape = (graph.values.get(id)?.shape ?? []).map((d) => (typeof d === 'number' ? d : n))
      const count = shape.reduce((m, d) => m * d, 1)
      return [
        id,
        tensor(
          'float32',
          shape,
          Float32Array.from({ length: count }, () => draw.normal())
        )
      ]
    })
  )
}

const endsOf = ({ graph }: Model): number =>
  [...graph.inputs, ...graph.outputs].reduce((n, id) => {
    const shape = graph.values.get(id)?.shape ?? []
    return n + 4 * shape.reduce<number>((m, d) => m * (typeof d === 'number' ? d : 1), 1)
  }, 0)

// ---------------------------------------------------------------- times

interface Opened extends KernelNetwork {
  readonly session: Session
  readonly feeds: Readonly<Record<string, Tensor>>
  /** Of one run, a block each. */
  readonly ms: number[]
  /** With the profiler on, where the runtime has one. */
  profiled?: Session
  /** Of the kernels of a run, by operator, where the runtime tells them. */
  parts?: ReadonlyMap<string, number>
}

/** Runs of a block, and blocks of a network in one round. */
const perBlock = 5
const blocksPerRound = 6
const warmup = 5
/** Runs of a network in one round whose kernels are timed. */
const profiledRuns = 15

/** Of blocks of runs, what a quarter of them takes at most: a busy machine changes it little. */
const quiet = 0.25

/** Where this process shares its cores with others, its own time is what would be taken alone; a runtime of its own has a clock of its own. */
const clockOf = (session: Session, clock: Clock): (() => number) => {
  const own = session.spentMs?.bind(session)
  if (own) return own
  return clock === 'wall' ? () => performance.now() : () => cpuMs()
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1000
}

/** ms of one run, of each of some blocks of runs. */
export async function blockTimes(
  session: Session,
  feeds: Readonly<Record<string, Tensor>>,
  blocks: number,
  clock: Clock
): Promise<readonly number[]> {
  const now = clockOf(session, clock)
  const found: number[] = []
  for (let b = 0; b < blocks; b++) {
    const began = now()
    for (let i = 0; i < perBlock; i++) await session.run(feeds)
    found.push((now() - began) / perBlock)
  }
  return found
}

/** ms of one run on a machine that is left alone as far as can be told, in one thread. */
export async function quietMs(
  session: Session,
  feeds: Readonly<Record<string, Tensor>>,
  { clock = 'wall', blocks = 40 }: { readonly clock?: Clock; readonly blocks?: number } = {}
): Promise<number> {
  for (let i = 0; i < warmup; i++) await session.run(feeds)
  return quietOf(await blockTimes(session, feeds, blocks, clock))
}

const quietOf = (times: readonly number[]): number =>
  quantile(
    times.toSorted((a, b) => a - b),
    quiet
  )

/** ms of the kernels of a run by operator: of each kernel the mean of the fastest quarter of its runs. */
async function kernelTimes(session: Session): Promise<ReadonlyMap<string, number>> {
  const byNode = new Map<string, { readonly op: string; readonly all: number[] }>()
  for (const { node, op, ms } of (await session.profile?.()) ?? []) {
    const known = byNode.get(node)
    if (known) known.all.push(ms)
    else byNode.set(node, { op: operatorOf(op), all: [ms] })
  }
  const out = new Map<string, number>()
  for (const { op, all } of byNode.values()) {
    // The profiler counts in whole microseconds: a mean tells more than the one time at the quantile.
    const fastest = all.toSorted((a, b) => a - b).slice(0, Math.ceil(all.length * quiet))
    out.set(op, (out.get(op) ?? 0) + fastest.reduce((a, b) => a + b, 0) / fastest.length)
  }
  return out
}

/** ONNX Runtime's kernels of an operator on codes, or with others fused into it, have its name behind a prefix. */
const operatorOf = (kernel: string): string => kernel.replace(/^(QLinear|Fused|Q(?=Gemm))/, '')

async function timeAll(
  all: readonly Opened[],
  o: {
    readonly rounds: number
    readonly signal: AbortSignal
    readonly progress: Progress
    readonly seed: number
    readonly clock: Clock
  }
): Promise<void> {
  const order = rng(o.seed)
  for (let round = 0; round < o.rounds; round++)
    for (const [k, i] of order.permutation(all.length).entries()) {
      stopIfAborted(o.signal)
      o.progress('timing', round * all.length + k, o.rounds * all.length)
      const { session, profiled, feeds, ms } = all[i] as Opened
      if (round === 0) for (let w = 0; w < warmup; w++) await session.run(feeds)
      for (const t of await blockTimes(session, feeds, blocksPerRound, o.clock)) ms.push(t)
      if (profiled) for (let run = 0; run < profiledRuns; run++) await profiled.run(feeds)
    }
}

// ---------------------------------------------------------------- files

/** Reads a cost model. Throws `E_FORMAT`, `E_FILE` and `E_LIMIT`. */
export function readCostModel(path: string): CostModel {
  let json: unknown
  try {
    json = JSON.parse(readText(path))
  } catch (cause) {
    if (cause instanceof PareError) throw cause
    throw new PareError('E_FORMAT', 'no cost model: not JSON', {
      where: path,
      hint: 'pare calibrate-target writes one'
    })
  }
  return costModelFrom(json, path)
}

/** Writes it, all or nothing. */
export async function writeCostModel(path: string, model: CostModel, o: { readonly force: boolean }): Promise<void> {
  await writeAtomic(path, [new TextEncoder().encode(`${JSON.stringify(model)}\n`)], o)
}
