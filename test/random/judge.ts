/** What becomes of a random graph in a recipe: nothing, a refusal, a good file, or a fault. */
import { PareError } from '../../src/base/errors.ts'
import { rng } from '../../src/base/random.ts'
import { metricFor } from '../../src/data/metrics.ts'
import { readModel, writeModel } from '../../src/formats/index.ts'
import { reads } from '../../src/ir/graph.ts'
import { printType } from '../../src/ir/print.ts'
import { elementCount, isFloat, isInteger, toNumbers } from '../../src/ir/tensor.ts'
import { measurer } from '../../src/measure/beside.ts'
import { nodeRunner } from '../../src/node/runner.ts'
import { inferShapes } from '../../src/ops/infer.ts'
import { isRounding } from '../../src/ops/quantized.ts'
import { applyRecipe, type Surroundings } from '../../src/passes/recipe.ts'
import { conforms } from '../../src/targets/conforms.ts'
import { targetFor } from '../../src/targets/index.ts'
import type { DType, Model, Node, Tensor } from '../../src/types.ts'
import { saturatesHere } from '../compare.ts'
import { disturbed, type Kind, originalName } from './noise.ts'
import type { Trial } from './recipes.ts'
import { type Outputs, runOf, type Subject, samplesOf } from './subject.ts'

export type Outcome =
  | { readonly is: 'same' | 'good' | 'unjudged' }
  | { readonly is: 'refused'; readonly why: string }
  | { readonly is: 'bad'; readonly why: string }

/** Errors that say what the user asked for cannot be done; anything else is a fault. */
const refusals = new Set([
  'E_UNSUPPORTED',
  'E_OPSET',
  'E_DATA',
  'E_DATA_SHAPE',
  'E_LABELS',
  'E_OPTION',
  'E_CONSTRAINT',
  'E_USAGE'
])

/** Least bound of each kind, and how often the disturbance of that kind may be exceeded. */
const bounds: Readonly<Record<Kind, readonly [floor: number, times: number]>> = {
  lossless: [1e-4, 20],
  float16: [1e-2, 10],
  bfloat16: [6e-2, 10],
  int8: [0.15, 6],
  int4: [0.5, 4],
  any: [Number.POSITIVE_INFINITY, 1]
}
/** An output that may be off by more than this is not judged by numbers. */
const loosest = 0.6

/** Operators whose results jump: a disturbance may miss the jump that a pass brings about. */
const jumps = new Set([
  ...['ArgMax', 'ArgMin', 'Hardmax', 'TopK', 'Round', 'Ceil', 'Floor', 'Sign', 'Mod', 'Unique', 'NonZero', 'Compress'],
  ...['Equal', 'Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'IsInf', 'IsNaN', 'NonMaxSuppression', 'OneHot'],
  ...['ThresholdedRelu', 'Shrink', 'Tan', 'BitShift', 'LinearClassifier']
])

/** Operators that give infinity or NaN for some numbers: weights of other values may bring about such numbers. */
const poles = new Set([
  ...[
    'Mod',
    'Div',
    'Reciprocal',
    'Log',
    'Sqrt',
    'Pow',
    'Asin',
    'Acos',
    'Acosh',
    'Atanh',
    'Det',
    'MeanVarianceNormalization'
  ]
])

/** Values that such nodes lead to. */
function behind({ graph }: Model, isSuch: (n: Node) => boolean): ReadonlySet<string> {
  const found = new Set<string>()
  for (const n of graph.nodes)
    if (isSuch(n) || reads(n).some((id) => found.has(id))) for (const id of n.outputs) found.add(id)
  return found
}

/** Outputs that something which jumps leads to, and casts to whole numbers among it. */
function jumping(model: Model): ReadonlySet<string> {
  const typeOf = (id: string | undefined): DType => model.graph.values.get(id ?? '')?.dtype ?? 'float32'
  return behind(model, (n) => jumps.has(n.op) || (n.op === 'Cast' && !isFloat(typeOf(n.outputs[0]))))
}

const bad = (why: string): Outcome => ({ is: 'bad', why })

export async function outcomeOf(s: Subject, trial: Trial): Promise<Outcome> {
  let model: Model
  try {
    model = (await applyRecipe(s.model, trial.recipe, surroundings(s, trial))).model
  } catch (error) {
    return thrown(error, 'throws')
  }
  if (model === s.model && !trial.write) return { is: 'same' }
  let bytes: Uint8Array
  try {
    const target = targetFor(trial.target ?? 'ort-cpu')
    const misfit = conforms(model, target)
    if (misfit.length > 0 && conforms(s.model, target).length === 0)
      return bad(`not for the target: ${JSON.stringify(misfit[0])}`)
    bytes = writeModel(model, { ...trial.write }).bytes
  } catch (error) {
    // Writing at the opset that it has must work; at another the writer may refuse.
    const told = thrown(error, 'is not written')
    return trial.write || told.is === 'bad' ? told : bad(`is not written: ${(error as Error).message}`)
  }
  return (await unlike(s, bytes)) ?? (await compared(s, bytes, trial))
}

function thrown(error: unknown, what: string): Outcome {
  if (error instanceof PareError && refusals.has(error.code))
    return { is: 'refused', why: `${error.code} ${error.message}` }
  if (error instanceof PareError)
    return bad(`${what} ${error.code}: ${error.message} ${error.where ?? ''} ${Object.values(error.facts).join(' ')}`)
  return bad(`${what} ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`)
}

const contexts = new WeakMap<Subject, Omit<Surroundings, 'target'>>()

function surroundings(s: Subject, trial: Trial): Surroundings {
  const known = contexts.get(s) ?? contextOf(s)
  contexts.set(s, known)
  return { ...known, target: targetFor(trial.target ?? 'ort-cpu'), rng: rng(0) }
}

function contextOf(s: Subject): Omit<Surroundings, 'target'> {
  const engine = nodeRunner()
  const labelled = samplesOf(s)
  const data = labelled && { calibration: labelled, train: labelled, selection: labelled }
  const random = rng(0)
  const measuring = { engine, rng: random, metric: metricFor('relativeError') }
  return {
    engine,
    measured: engine,
    data: data ?? {},
    rng: random,
    signal: new AbortController().signal,
    progress: () => {},
    ...(data && { measure: measurer({ ...measuring, parts: [data.selection] }) })
  }
}

// ---------------------------------------------------------------- the file

/** What of a file is not as it should be, before it runs. */
async function unlike(s: Subject, bytes: Uint8Array): Promise<Outcome | undefined> {
  let again: Model
  try {
    again = readModel(bytes)
  } catch (error) {
    return bad(`is not read again: ${(error as Error).message}`)
  }
  try {
    const twice = writeModel(again, {}).bytes
    const thrice = writeModel(readModel(twice), {}).bytes
    if (!Buffer.from(twice).equals(Buffer.from(thrice))) return bad('is not the same when it is read and written again')
  } catch (error) {
    return bad(`is not written again: ${(error as Error).message}`)
  }
  const [was, is] = [ends(s.model), ends(again)]
  return was === is ? undefined : bad(`inputs and outputs are\n    ${is}\n  and were\n    ${was}`)
}

function ends({ graph }: Model): string {
  const typed = (id: string): string => `${id}: ${printType(graph.values.get(id))}`
  const inputs = graph.inputs.filter((id) => !graph.values.get(id)?.data)
  return `${inputs.map(typed).join(', ')} → ${graph.outputs.map(typed).join(', ')}`
}

// ---------------------------------------------------------------- the numbers

async function compared(
  s: Subject,
  bytes: Uint8Array,
  { kind: asked, write, target = 'ort-cpu' }: Trial
): Promise<Outcome> {
  const made = await runOf(bytes, s.feeds)
  if (typeof made === 'string') {
    // Commands open what they wrote: they refuse an opset that the runtime does not have all operators of.
    // MeanVarianceNormalization of halves is such a one: its definition before opset 18 mixes types.
    if (write && /Could not find an implementation|Failed to find kernel|bound to different types/.test(made))
      return { is: 'refused', why: 'no kernels at this opset' }
    const plain = await runOf(bytes, s.feeds, { optimization: 'disabled' })
    return bad(`does not run${typeof plain === 'string' ? '' : ' unless the engine optimises nothing'}: ${made}`)
  }
  // A file for processors whose sums do not saturate tells nothing on one where they do.
  const isTold = targetFor(target).saturates || !saturatesHere(readModel(bytes))
  const kind = isTold ? asked : 'any'
  let unjudged = kind === 'any'
  const noise = await noiseOf(s, kind)
  const steps = jumping(inferShapes(s.model))
  const codes = behind(s.model, isRounding)
  const open = kind === 'any' ? behind(s.model, (n) => poles.has(n.op)) : new Set()
  for (const [name, was] of Object.entries(s.full)) {
    const is = made[name]
    if (!is) return bad(`output ${name} is missing`)
    const typed = `${was.dtype}[${was.shape}]`
    if (is.dtype !== was.dtype || (noise.fixed.has(name) && String(is.shape) !== String(was.shape)))
      return bad(`output ${name} is ${is.dtype}[${is.shape}], not ${typed}`)
    if (s.impure || elementCount(is.shape) !== elementCount(was.shape)) {
      unjudged = true
      continue
    }
    const lost = brokenAt(was, is, noise.finite.get(name))
    if (lost >= 0 && !open.has(name))
      return bad(`output ${name} is ${at(is, lost)} at ${lost}, where ${at(was, lost)} was`)
    // Halves may round to the code beside; a code is a step of 8 bits.
    const isHalf = kind === 'float16' || kind === 'bfloat16'
    const [floor, times] = floorOf(s.model, isHalf && codes.has(name) ? 'int8' : kind)
    const bound = Math.max(floor, times * (noise.errors.get(name) ?? 0))
    if (kind !== 'any' && (bound > loosest || (kind !== 'lossless' && steps.has(name)))) {
      unjudged = true
      continue
    }
    const error = errorOf(was, is, kind !== 'lossless' && isInteger(was.dtype) ? 1 : 0)
    if (error > bound)
      return bad(`output ${name} is off by ${error.toPrecision(3)}, more than ${bound.toPrecision(3)} (${kind})`)
  }
  return { is: unjudged ? 'unjudged' : 'good' }
}

const at = (t: Tensor, i: number): number | undefined => toNumbers(t)[i]

/** Sums of half floats differ by their order. */
function floorOf(model: Model, kind: Kind): readonly [number, number] {
  const [floor, times] = bounds[kind]
  const isHalf = [...model.graph.values.values()].some((v) => v.dtype === 'float16' || v.dtype === 'bfloat16')
  return kind === 'lossless' && isHalf ? [1e-2, times] : [floor, times]
}

interface Noise {
  readonly errors: ReadonlyMap<string, number>
  /** Outputs whose shape does not depend on the numbers. */
  readonly fixed: ReadonlySet<string>
  /** Where the disturbed outputs are finite. */
  readonly finite: ReadonlyMap<string, (i: number) => boolean>
}

const measured = new WeakMap<Subject, Map<Kind, Noise>>()

/** How far the outputs move where the graph is disturbed, and between the engine's own ways to run it. */
async function noiseOf(s: Subject, kind: Kind): Promise<Noise> {
  const known = measured.get(s) ?? new Map<Kind, Noise>()
  measured.set(s, known)
  const found = known.get(kind)
  if (found) return found
  const errors = new Map<string, number>()
  const fixed = new Set(Object.keys(s.full))
  const doubtful = new Map<string, Set<number>>()
  const runs: Outputs[] = [s.plain]
  for (const seed of [1, 2]) {
    const made = await disturbed(s, kind === 'any' ? 'int8' : kind, seed)
    // A graph that the disturbance breaks is not judged by numbers.
    if (typeof made === 'string') for (const name of fixed) errors.set(name, Number.POSITIVE_INFINITY)
    else runs.push(Object.fromEntries(Object.entries(made).map(([id, t]) => [originalName(id), t])))
  }
  for (const run of runs)
    for (const [name, was] of Object.entries(s.full)) {
      const is = run[name]
      if (!is || String(is.shape) !== String(was.shape)) {
        fixed.delete(name)
        errors.set(name, Number.POSITIVE_INFINITY)
        continue
      }
      errors.set(name, Math.max(errors.get(name) ?? 0, errorOf(was, is)))
      const set = doubtful.get(name) ?? new Set()
      doubtful.set(name, set)
      if (!is.strings) toFinite(is).forEach((ok, i) => void (ok || set.add(i)))
    }
  const finite = new Map([...doubtful].map(([name, set]) => [name, (i: number) => !set.has(i)]))
  const made: Noise = { errors, fixed, finite }
  known.set(kind, made)
  return made
}

const toFinite = (t: Tensor): boolean[] => Array.from(toNumbers(t), (x) => Number.isFinite(Number(x)))

function brokenAt(was: Tensor, is: Tensor, finite: ((i: number) => boolean) | undefined): number {
  if (!isFloat(was.dtype) || !finite) return -1
  const [a, b] = [toNumbers(was), toNumbers(is)]
  for (let i = 0; i < a.length; i++) if (Number.isFinite(a[i]) && !Number.isFinite(b[i]) && finite(i)) return i
  return -1
}

/** ‖y − x‖ / ‖x‖ over the elements that are finite in both. `step`: a difference that counts as none. */
export function errorOf(x: Tensor, y: Tensor, step = 0): number {
  if (x.strings || y.strings) return x.strings?.join('\n') === y.strings?.join('\n') ? 0 : 1
  const [a, b] = [toNumbers(x), toNumbers(y)]
  let [error, power] = [0, 0]
  for (let i = 0; i < a.length; i++) {
    const [v, w] = [Number(a[i]), Number(b[i])]
    if (!Number.isFinite(v) || !Number.isFinite(w)) continue
    if (Math.abs(v - w) > step) error += (v - w) ** 2
    power += v ** 2
  }
  return error === 0 ? 0 : Math.sqrt(error / Math.max(power, 1e-12))
}
