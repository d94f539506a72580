/**
 * Quantization as it is trained, in float: y = s·round(clip(x/s, low, high)), rounding with a straight-through gradient.
 * Step sizes are learned (Esser et al., Learned Step Size Quantization, 2020): the gradient by s falls out of the formula.
 * A step is s₀·exp(κ·p) with a trained p from 0, so that it stays positive. κ makes an update of log s as large, in
 * proportion, as LSQ's, whose gradient by s is scaled by g = 1/√(n·high): κ = √g/s₀ for SGD; Adam scales itself: κ = 1.
 */
import { assert } from '../../base/errors.ts'
import { type Draft, edit, renameReads } from '../../ir/edit.ts'
import { elementCount, scalar, tensor, toFloats } from '../../ir/tensor.ts'
import type { Model, Node, Tensor } from '../../types.ts'
import { type NodePlan, type StaticPlan, type ValuePlan, weightKey } from '../quantize/static/plan.ts'

/** Steps of a weight: one per channel along an axis, or one. */
export interface WeightSteps {
  readonly id: string
  readonly axis?: number
  readonly scales: readonly number[]
  /** Largest code. */
  readonly level: number
}

/** How steps move. */
export interface StepRule {
  readonly learned: boolean
  /** Does the optimizer scale gradients itself? */
  readonly adaptive: boolean
}

/** Steps of one weight or value in the model that is trained. */
interface Steps {
  /** The trained p; absent where steps stay. */
  readonly parameter?: string
  readonly base: Float32Array
  readonly gain: Float32Array
}

/** A model that computes as if quantized, and where its steps are. */
export interface FakeQuantized {
  readonly model: Model
  /** By `weightKey` of a weight, and by a value's first id. */
  readonly steps: ReadonlyMap<string, Steps>
  /** Constants that are not trained. */
  readonly fixed: ReadonlySet<string>
}

interface Work {
  readonly d: Draft
  readonly rule: StepRule
  readonly steps: Map<string, Steps>
  readonly fixed: Set<string>
}

/** Weights as codes stand for them, for all that reads them; or, with a plan, for its nodes, with its values as well. */
export function fakeQuantized(
  model: Model,
  weights: readonly WeightSteps[],
  rule: StepRule,
  plan?: StaticPlan
): FakeQuantized {
  const steps = new Map<string, Steps>()
  const fixed = new Set<string>()
  const made = edit(model, (d) => {
    const w: Work = { d, rule, steps, fixed }
    const nodes = new Map((plan?.nodes ?? []).map((n) => [n.output, n]))
    for (const weight of weights) putWeight(w, weight, plan ? nodes : undefined)
    for (const v of plan?.values ?? []) if (!isMade(plan, v)) putRead(w, v, nodes)
    for (const v of plan?.values ?? []) if (isMade(plan, v)) putMade(w, v, plan)
  })
  return { model: made, steps, fixed }
}

/** The steps that training came to. */
export function trainedSteps({ steps }: FakeQuantized, trained: Model, of: string): Float64Array {
  const s = steps.get(of)
  assert(s, `no steps of ${of}`)
  const p = s.parameter === undefined ? undefined : trained.graph.values.get(s.parameter)?.data
  const moved = p ? toFloats(p) : new Float32Array(s.base.length)
  return Float64Array.from(s.base, (b, i) => b * Math.exp((s.gain[i] as number) * (moved[i] as number)))
}

// ---------------------------------------------------------------- weights

function putWeight(w: Work, weight: WeightSteps, nodes: ReadonlyMap<string, NodePlan> | undefined): void {
  const { d } = w
  const { id, axis, scales, level } = weight
  const data = d.constant(id)
  assert(data, `weight ${id} is no constant`)
  const shape = axis === undefined ? [] : data.shape.map((n, i) => (i === axis ? n : 1))
  const readers = d.consumers(id)
  const to = putSteps(w, weightKey(weight), id, {
    ...{ scales: tensor('float32', shape, scales), low: -level, high: level, zero: scalar('int8', 0) },
    count: elementCount(data.shape) / scales.length
  })
  for (const node of readers) {
    if (!nodes) {
      d.replace(node, renameReads(node, id, to))
      continue
    }
    const input = nodes.get(node.outputs[0] ?? '')?.weight
    if (input?.id !== id || input.axis !== axis) continue
    d.replace(node, { ...node, inputs: node.inputs.map((x, i) => (i === input.input ? to : x)) })
  }
}

// ---------------------------------------------------------------- values

/** The value of a group whose range counts: behind the last of the clamps that saturation replaces. */
export const tapOf = (plan: StaticPlan, v: ValuePlan): string =>
  v.ids.findLast((id) => plan.clamps.includes(id)) ?? (v.ids[0] as string)

/** Does an integer node make it (or a clamp behind one)? Then all that reads it reads codes. */
function isMade(plan: StaticPlan | undefined, v: ValuePlan): plan is StaticPlan {
  if (!plan) return false
  const tap = tapOf(plan, v)
  return plan.clamps.includes(tap) || plan.nodes.some((n) => n.output === tap && !n.givesFloat)
}

function putMade(w: Work, v: ValuePlan, plan: StaticPlan): void {
  const { d } = w
  const tap = tapOf(plan, v)
  const maker = d.producer(tap)
  assert(maker, `nothing makes ${tap}`)
  const raw = d.fresh(`${tap}_float`)
  d.replace(maker, { ...maker, outputs: maker.outputs.map((id) => (id === tap ? raw : id)) })
  putSteps(w, v.ids[0] as string, raw, stepsOf(d, v, tap), tap)
}

function putRead(w: Work, v: ValuePlan, nodes: ReadonlyMap<string, NodePlan>): void {
  const { d } = w
  const [id] = v.ids as readonly [string]
  const readers = d.consumers(id).flatMap((node): { node: Node; data: readonly number[] }[] => {
    const n = nodes.get(node.outputs[0] ?? '')
    return n ? [{ node, data: n.data }] : []
  })
  const to = putSteps(w, id, id, stepsOf(d, v, id))
  for (const { node, data } of readers)
    d.replace(node, { ...node, inputs: node.inputs.map((x, i) => (x === id && data.includes(i) ? to : x)) })
}

function stepsOf(d: Draft, v: ValuePlan, id: string): Clip {
  const lowest = v.dtype === 'uint8' ? 0 : -128
  const shape = d.value(id)?.shape ?? []
  return {
    scales: scalar('float32', v.scale),
    ...{ low: lowest - v.zeroPoint, high: lowest + 255 - v.zeroPoint, zero: scalar(v.dtype, v.zeroPoint) },
    count: shape.slice(1).reduce<number>((n, k) => n * (typeof k === 'number' ? k : 1), 1)
  }
}

// ---------------------------------------------------------------- nodes

interface Clip {
  readonly scales: Tensor
  readonly low: number
  readonly high: number
  readonly zero: Tensor
  /** Elements that share a step. */
  readonly count: number
}

/** Adds y = s·DQ(Q(clip(x/s))). Returns y. */
function putSteps(w: Work, key: string, from: string, c: Clip, to?: string): string {
  const { d, rule, steps } = w
  const keep = (t: Tensor, hint: string): string => {
    const id = d.addConstant(t, hint)
    w.fixed.add(id)
    return id
  }
  const base = toFloats(c.scales)
  const scaled = 1 / Math.sqrt(c.count * Math.max(c.high, -c.low, 1))
  const gain = base.map((s) => (rule.adaptive ? 1 : Math.sqrt(scaled) / s))
  let step = keep(c.scales, `${from}.s`)
  let parameter: string | undefined
  if (rule.learned) {
    parameter = d.addConstant(tensor('float32', c.scales.shape, new Float32Array(base.length)), `${from}.p`)
    const moved = d.add('Mul', [parameter, keep(tensor('float32', c.scales.shape, gain), `${from}.k`)])
    step = d.add('Mul', [d.add('Exp', [moved]), step])
  }
  const one = keep(scalar('float32', 1), 'one')
  const zero = keep(c.zero, 'zero')
  const bound = (x: number): string => keep(scalar('float32', x), 'bound')
  const clipped = d.add('Clip', [d.add('Div', [from, step]), bound(c.low), bound(c.high)])
  const code = d.add('QuantizeLinear', [clipped, one, zero])
  const rounded = d.add('DequantizeLinear', [code, one, zero])
  steps.set(key, { ...(parameter === undefined ? {} : { parameter }), base, gain })
  return d.add('Mul', [rounded, step], to === undefined ? {} : { outputs: [to] })
}
