/**
 * Nodes that only move elements, put where these are codes: DequantizeLinear → move becomes move → DequantizeLinear, and move →
 * QuantizeLinear becomes QuantizeLinear → move, so that operators on integers have their roundings right beside them. And activations of
 * uint8 as int8, which today's kernels take.
 */
import type { Draft } from '../../../ir/edit.ts'
import { scalar, tensor, toNumbers } from '../../../ir/tensor.ts'
import { opFor } from '../../../ops/index.ts'
import type { DType, Node, Tensor } from '../../../types.ts'
import { isRounding } from '../lower/index.ts'
import { codesOf } from '../lower/site.ts'
import { isPerTensor, type Parameters, parametersOf, sameParameters } from './parameters.ts'

/** Until nothing moves any more. `open`: values whose first size is an open batch; grows by codes of such. */
export function moveOnCodes(draft: Draft, open: Set<string>): void {
  for (let moved = true; moved; ) {
    moved = false
    for (const node of draft.nodes()) {
      if (!isRounding(node) || draft.producer(node.outputs[0] as string) !== node) continue
      const by = parametersOf(draft, node)
      if (!isPerTensor(by)) continue
      if (node.op === 'DequantizeLinear' ? sink(draft, node, by, open) : rise(draft, node, by, open)) moved = true
    }
  }
  draft.sweep()
}

/** A node that gives on elements of its first input, and adds none but zeros. */
function moves(draft: Draft, node: Node): boolean {
  const rule = opFor(node)?.quant
  if (rule?.output !== 'same' || rule.inputs[0] !== 0) return false
  if (rule.fill === undefined) return rule.inputs.length === 1
  const fill = node.inputs[rule.fill]
  const data = fill == null ? undefined : draft.constant(fill)
  return fill == null || (data !== undefined && Array.from(toNumbers(data)).every((x) => x === 0))
}

/** The node on codes. */
function onCodes(draft: Draft, node: Node, codes: string, outputs: readonly string[], by: Parameters): void {
  const fill = opFor(node)?.quant?.fill
  const inputs = [codes, ...node.inputs.slice(1)]
  if (fill !== undefined) {
    while (inputs.length <= fill) inputs.push(null)
    inputs[fill] = draft.addConstant(tensor(by.dtype, [], by.zero), `${node.name}_zero`)
  }
  draft.addNode({ ...node, inputs, outputs })
}

function sink(draft: Draft, dq: Node, by: Parameters, open: Set<string>): boolean {
  const [codes, x] = [dq.inputs[0] as string, dq.outputs[0] as string]
  if (codesOf(draft, x)) return false
  let moved = false
  for (const next of draft.consumers(x)) {
    const own = next.op === 'QuantizeLinear' ? parametersOf(draft, next) : undefined
    if (own && sameParameters(own, by)) {
      draft.remove(next)
      draft.rewire(next.outputs[0] as string, codes)
      moved = true
    } else if (next.inputs[0] === x && moves(draft, next)) {
      draft.remove(next)
      const made = next.outputs.map((id) => draft.fresh(`${id}_codes`))
      onCodes(draft, next, codes, made, by)
      for (const [i, id] of next.outputs.entries()) {
        const v = draft.value(id)
        if (open.has(id)) open.add(made[i] as string)
        draft.set({ type: 'tensor', ...(v?.shape ? { shape: v.shape } : {}), id: made[i] as string, dtype: by.dtype })
        const inputs = [made[i] as string, ...dq.inputs.slice(1)]
        draft.addNode({ name: draft.fresh(`${id}_dequantized`), op: dq.op, inputs, outputs: [id], attrs: dq.attrs })
      }
      moved = true
    }
  }
  return moved
}

function rise(draft: Draft, q: Node, by: Parameters, open: Set<string>): boolean {
  const [x, y] = [q.inputs[0] as string, q.outputs[0] as string]
  const before = draft.producer(x)
  if (!before || draft.soleConsumer(x) !== q || before.outputs.length !== 1 || !moves(draft, before)) return false
  const from = before.inputs[0] as string
  if (draft.constant(from) || draft.producer(from)?.op === 'DequantizeLinear') return false
  draft.remove(q)
  draft.remove(before)
  const codes = draft.fresh(`${from}_codes`)
  if (open.has(from)) open.add(codes)
  const v = draft.value(from)
  draft.set({ type: 'tensor', ...(v?.shape ? { shape: v.shape } : {}), id: codes, dtype: by.dtype })
  draft.addNode({ ...q, inputs: [from, ...q.inputs.slice(1)], outputs: [codes] })
  onCodes(draft, before, codes, [y], by)
  return true
}

// ---------------------------------------------------------------- uint8

/** Half of 256. */
const half = 128

/**
 * Codes of uint8 between roundings as int8, 128 lower; nothing else changes. Files whose weights are uint8 too are of the old kind
 * and stay so. Inputs and outputs of the graph keep their type, and are rounded once more behind and before them.
 */
export function signCodes(draft: Draft): void {
  const nodes = draft.nodes()
  if (nodes.some((n) => hasUnsignedWeight(draft, n))) return
  const between = new Set<string>()
  for (const n of nodes) {
    const by = parametersOf(draft, n)
    if (by?.dtype !== 'uint8') continue
    between.add((n.op === 'QuantizeLinear' ? n.outputs[0] : n.inputs[0]) as string)
  }
  spread(draft, between)
  const signedBy = new Map<string, string>()
  for (const n of draft.nodes()) {
    const by = parametersOf(draft, n)
    if (by?.dtype !== 'uint8') continue
    const id = (n.op === 'QuantizeLinear' ? n.outputs[0] : n.inputs[0]) as string
    if (between.has(id))
      draft.replace(n, { ...n, inputs: [n.inputs[0] ?? null, n.inputs[1] ?? null, zeroOf(draft, n, by, signedBy)] })
  }
  for (const id of between) {
    const v = draft.value(id)
    if (v?.dtype !== 'uint8') continue
    const data = draft.constant(id)
    const signed = data && lowered(data)
    draft.set({ ...v, dtype: 'int8', ...(signed ? { data: signed } : {}) })
  }
}

/** Weights of layers that are uint8. */
function hasUnsignedWeight(draft: Draft, node: Node): boolean {
  return (opFor(node)?.weights ?? []).some(({ input }) => {
    const codes = codesOf(draft, node.inputs[input] ?? '')
    return codes?.data.dtype === 'uint8' && opFor(node)?.linear !== undefined
  })
}

/** Leaves out what is an input or output of the graph, or meets anything but roundings and moves; takes in what moves make. */
function spread(draft: Draft, between: Set<string>): void {
  const fits = (id: string): boolean => {
    const maker = draft.producer(id)
    const isMade =
      draft.constant(id) !== undefined || (maker !== undefined && (isRounding(maker) || passes(draft, maker)))
    return isMade && !draft.isOutput(id) && draft.consumers(id).every((c) => isRounding(c) || passes(draft, c))
  }
  for (let changed = true; changed; ) {
    changed = false
    for (const id of [...between]) {
      const around = [draft.producer(id), ...draft.consumers(id)].flatMap((n) => (n && passes(draft, n) ? [n] : []))
      for (const other of around.flatMap((n) => [n.inputs[0] as string, ...n.outputs]))
        if (!between.has(other)) {
          between.add(other)
          changed = true
        }
    }
  }
  for (let changed = true; changed; ) {
    changed = false
    for (const id of [...between]) {
      const linked = [draft.producer(id), ...draft.consumers(id)].flatMap((n) =>
        n && passes(draft, n) ? [n.inputs[0] as string, ...n.outputs] : []
      )
      if (fits(id) && linked.every((l) => between.has(l))) continue
      between.delete(id)
      changed = true
    }
  }
}

const passes = (draft: Draft, node: Node): boolean => {
  const rule = opFor(node)?.quant
  return rule?.output === 'same' && rule.fill === undefined && draft.value(node.inputs[0] ?? '')?.dtype === 'uint8'
}

function zeroOf(draft: Draft, node: Node, by: Parameters, known: Map<string, string>): string {
  const key = `${by.zero}`
  const made = known.get(key)
  if (made !== undefined) return made
  const shape = draft.constant(node.inputs[1])?.shape ?? []
  const id = draft.addConstant(
    shape.length === 0
      ? scalar('int8', (by.zero[0] as number) - half)
      : tensor(
          'int8',
          shape,
          by.zero.map((z) => z - half)
        ),
    `${node.inputs[1]}_zero`
  )
  known.set(key, id)
  return id
}

const lowered = (t: Tensor): Tensor =>
  tensor(
    'int8' satisfies DType,
    t.shape,
    Array.from(toNumbers(t), (c) => c - half)
  )
