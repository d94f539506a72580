/** Control flow. A subgraph is inferred with the types its inputs take; what differs between rounds or branches is unknown. */
import { unknownDim } from '../base/dim.ts'
import { PareError } from '../base/errors.ts'
import { attrGraph, attrInt, attrInts } from '../ir/attrs.ts'
import type { Dim, Graph } from '../types.ts'
import { axisOf, contentOf, elementsOf, fail, isGiven, joinTypes, tensorType, typeOnly } from './op.ts'
import type { Known, NodeView, Op } from './types.ts'

type Types = readonly (Known | undefined)[]

/** Rounds of widening before the shapes that are carried are given up. */
const maxRounds = 3

function bodyOf(n: NodeView, attribute: string): Graph {
  return attrGraph(n.node, attribute) ?? fail(n, `no graph ${attribute}`)
}

// ---------------------------------------------------------------- If

/** A branch that contradicts itself can never be taken (exporters leave such branches): the other one decides. */
function inferIf(n: NodeView): Types {
  const branches = [bodyOf(n, 'then_branch'), bodyOf(n, 'else_branch')]
  const results = branches.map((graph): Types | PareError => {
    try {
      return n.inferGraph(graph, [])
    } catch (e) {
      if (e instanceof PareError && e.code === 'E_SHAPE') return e
      throw e
    }
  })
  const condition = elementsOf(n, 0)?.[0]
  const [yes, no] = results as [Types | PareError, Types | PareError]
  const taken = condition === 1 ? yes : condition === 0 ? no : undefined
  if (taken instanceof PareError) throw taken
  if (taken) return taken
  if (yes instanceof PareError) {
    if (no instanceof PareError) throw no
    return no
  }
  if (no instanceof PareError) return yes
  return n.node.outputs.map((_, i) => joinTypes(typeOnlyOf(yes[i]), typeOnlyOf(no[i])))
}

const typeOnlyOf = (known: Known | undefined): Known | undefined => {
  if (!known?.data) return known
  return typeOnly(known)
}

// ---------------------------------------------------------------- Loop, Scan

/** Types of the carried values that hold before and after every round, and the body's outputs for them. */
function settle(
  n: NodeView,
  body: Graph,
  initial: Types,
  others: { readonly before: Types; readonly after: Types; readonly skip: number }
): { readonly state: Types; readonly outputs: Types } {
  let state = initial.map(typeOnly)
  for (let round = 0; ; round++) {
    const outputs = n.inferGraph(body, [...others.before, ...state, ...others.after])
    const next = state.map((k, i) => joinTypes(k, typeOnly(outputs[others.skip + i])))
    if (next.every((k, i) => isSame(k, state[i]))) return { state, outputs }
    if (round > maxRounds) return { state: state.map(() => undefined), outputs: outputs.map(() => undefined) }
    state = round === maxRounds ? next.map(withoutShape) : next
  }
}

const withoutShape = (k: Known | undefined): Known | undefined =>
  k?.type === 'tensor' ? tensorType(k.dtype, undefined) : undefined

function isSame(a: Known | undefined, b: Known | undefined): boolean {
  if (!a || !b) return a === b
  return a.type === b.type && a.dtype === b.dtype && `${a.shape}` === `${b.shape}` && isSame(a.of, b.of)
}

function inferLoop(n: NodeView): Types {
  const body = bodyOf(n, 'body')
  const initial = n.inputs.slice(2)
  const isOn = !isGiven(n, 1) || elementsOf(n, 1)?.[0] === 1
  const before = [tensorType('int64', []), tensorType('bool', [], isOn ? [1] : undefined)]
  const { state, outputs } = settle(n, body, initial, { before, after: [], skip: 1 })
  const goesOn = outputs[0]?.content?.[0] ?? (outputs[0]?.data?.bytes.slice(0, 1)[0] as Dim | undefined)
  const trips = isGiven(n, 0) && isOn && goesOn === 1 ? (contentOf(n, 0)?.[0] ?? unknownDim) : unknownDim
  const count = typeof trips === 'number' ? (Number.isSafeInteger(trips) ? Math.max(0, trips) : unknownDim) : trips
  return [...state, ...outputs.slice(1 + initial.length).map((k) => stacked(n, k, count, 0))]
}

/** A tensor of `count` results along a new axis. */
function stacked(n: NodeView, one: Known | undefined, count: Dim, axis: number): Known | undefined {
  if (one?.type !== 'tensor') return undefined
  if (!one.shape) return tensorType(one.dtype, undefined)
  const at = axisOf(n, axis, one.shape.length + 1)
  return tensorType(one.dtype, [...one.shape.slice(0, at), count, ...one.shape.slice(at)])
}

/** The batched form of opset 8, which has one input more than its body, is unknown. */
function inferScan(n: NodeView): Types {
  const body = bodyOf(n, 'body')
  if (body.inputs.length !== n.inputs.length) return []
  const scans = attrInt(n.node, 'num_scan_inputs', 0)
  const states = n.inputs.length - scans
  if (scans < 1 || states < 0) fail(n, `${scans} scan inputs`)
  const axes = attrInts(n.node, 'scan_input_axes')
  const slices = n.inputs.slice(states).map((k, i) => cut(n, k, axes?.[i] ?? 0))
  const count = slices.find((s) => typeof s.size === 'number')?.size ?? slices[0]?.size ?? unknownDim
  const after = slices.map((s) => s.type)
  const { state, outputs } = settle(n, body, n.inputs.slice(0, states), { before: [], after, skip: 0 })
  const outAxes = attrInts(n.node, 'scan_output_axes')
  return [...state, ...outputs.slice(states).map((k, i) => stacked(n, k, count, outAxes?.[i] ?? 0))]
}

/** One slice of a scan input, and how many there are. */
function cut(n: NodeView, k: Known | undefined, axis: number): { type: Known | undefined; size: Dim } {
  if (!k?.shape) return { type: k && tensorType(k.dtype, undefined), size: unknownDim }
  const at = axisOf(n, axis, k.shape.length)
  return { type: tensorType(k.dtype, k.shape.toSpliced(at, 1)), size: k.shape[at] as Dim }
}

export const controlOps: readonly Op[] = [
  { name: 'If', infer: inferIf, branch: (condition) => (condition ? 'then_branch' : 'else_branch') },
  { name: 'Loop', infer: inferLoop, unbounded: true },
  { name: 'Scan', infer: inferScan, unbounded: true }
]
