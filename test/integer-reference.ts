/**
 * Models on codes, computed as docs/compile.md states it, one element after the other. Sums are exact; what is rounded is
 * rounded in float32. Slow, and knows nothing of kernels.
 */

import { evaluate } from '../src/compile/integer/evaluate.ts'
import { storedOf } from '../src/compile/stored.ts'
import { constant, consumers, graphView, producer } from '../src/ir/graph.ts'
import type { Expr } from '../src/ir/loops.ts'
import { elementCount, toFloats, toNumbers } from '../src/ir/tensor.ts'
import { linearOf } from '../src/ops/ask.ts'
import { opFor } from '../src/ops/index.ts'
import { inferShapes, viewOf } from '../src/ops/infer.ts'
import { stridesOf } from '../src/ops/move.loops.ts'
import type { Linear, PatchAxis } from '../src/ops/types.ts'
import type { Model, Node, Tensor } from '../src/types.ts'

interface Codes {
  readonly codes: Float64Array
  readonly scale: number
  readonly zero: number
  readonly low: number
  readonly high: number
}

interface Quantizer {
  readonly node: Node
  readonly out: string
  readonly coding: Omit<Codes, 'codes'>
}

const f = Math.fround
const even = (x: number): number => {
  const r = Math.round(x)
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r
}

/** Floats of the outputs. Throws where a node is none of those that are computed on codes. */
export function referenceOf(given: Model, feeds: Readonly<Record<string, Tensor>>): Record<string, Float32Array> {
  const model = inferShapes(given)
  const { graph } = model
  const codes = new Map<string, Codes>()
  const reals = new Map<string, Float32Array>()
  for (const [id, t] of Object.entries(feeds)) reals.set(id, toFloats(t) as Float32Array)
  const shape = (id: string): readonly number[] => (graph.values.get(id)?.shape ?? []) as readonly number[]
  const one = (id: string | null | undefined): number => {
    const t = constant(graph, id)
    return t ? (toNumbers(t)[0] as number) : 0
  }
  const coding = (node: Node, id: string): Omit<Codes, 'codes'> => {
    const isSigned = graph.values.get(id)?.dtype === 'int8'
    const [low, high] = isSigned ? [-128, 127] : [0, 255]
    return { scale: one(node.inputs[1]), zero: one(node.inputs[2]), low, high }
  }
  /** Of a scaled number. */
  const held = (x: number, c: Omit<Codes, 'codes'>): number => Math.max(c.low, Math.min(c.high, even(x) + c.zero))
  const read = (id: string | null | undefined): Codes | undefined => {
    const node = id == null ? undefined : producer(graph, id)
    return node?.op === 'DequantizeLinear' ? codes.get(node.inputs[0] as string) : undefined
  }
  const done = new Set<Node>()
  /** The QuantizeLinear behind a value; a Relu before it leaves no code below that of 0. */
  const quantizer = (id: string): Quantizer | undefined => {
    const [node] = consumers(graph, id)
    if (node?.op === 'Relu') {
      const behind = quantizer(node.outputs[0] as string)
      if (behind) done.add(node)
      return behind && { ...behind, coding: { ...behind.coding, low: Math.max(behind.coding.low, behind.coding.zero) } }
    }
    if (node?.op !== 'QuantizeLinear') return undefined
    const out = node.outputs[0] as string
    return { node, out, coding: coding(node, out) }
  }

  /** y = Σ (x − z) · w + b, with x[…] = z outside of a map. */
  function layer(node: Node, l: Linear, x: Codes): void {
    const out = node.outputs[0] as string
    const [xs, ys] = [shape(node.inputs[l.data] as string), shape(out)]
    const w = storedOf(graph, node.inputs[l.weight])
    const b = l.bias && storedOf(graph, node.inputs[l.bias.input])
    if (!w?.codes) throw new Error(`${node.name}: weights are no codes`)
    const axes: readonly PatchAxis[] = l.patch?.axes ?? []
    const [inside, outside] = [xs.slice(2), ys.slice(2)]
    const isMatrix = !l.patch
    const rows = isMatrix ? elementCount(ys) / l.outputs : (ys[0] as number)
    const positions = isMatrix ? 1 : elementCount(outside)
    const q = quantizer(out)
    const result = q ? new Float64Array(elementCount(ys)) : new Float32Array(elementCount(ys))
    const at = (p: number, k: number): number => {
      let [rest, tap, index] = [p, k, 0]
      const pos: number[] = []
      const taps: number[] = []
      for (let a = axes.length - 1; a >= 0; a--) {
        pos[a] = rest % (outside[a] as number)
        rest = Math.floor(rest / (outside[a] as number))
        taps[a] = tap % (axes[a]?.kernel as number)
        tap = Math.floor(tap / (axes[a]?.kernel as number))
      }
      for (const [a, axis] of axes.entries()) {
        const i = (pos[a] as number) * axis.stride + (taps[a] as number) * axis.dilation - (axis.pads?.before as number)
        if (i < 0 || i >= (inside[a] as number)) return -1
        index = index * (inside[a] as number) + i
      }
      return index
    }
    for (let n = 0; n < rows; n++)
      for (let c = 0; c < l.groups * l.outputs; c++) {
        const g = Math.floor(c / l.outputs)
        const weight = (i: number, k: number): number =>
          g * l.strides.group + (c % l.outputs) * l.strides.out + i * l.strides.in + k * l.strides.kernel
        const ws = l.alpha * w.codes.scale(weight(0, 0))
        const unit = x.scale * ws
        const bias = b
          ? Math.round(((l.bias?.beta ?? 1) * (b.floats[b.floats.length === 1 ? 0 : c] as number)) / unit)
          : 0
        for (let p = 0; p < positions; p++) {
          let sum = bias
          for (let i = 0; i < l.inputs; i++)
            for (let k = 0; k < l.kernel; k++) {
              const where = isMatrix ? 0 : at(p, k)
              if (where < 0) continue
              const channel = g * l.inputs + i
              const index = isMatrix
                ? n * l.inputs + i
                : (n * (xs[1] as number) + channel) * elementCount(inside) + where
              sum += ((x.codes[index] as number) - x.zero) * w.codes.code(weight(i, k))
            }
          const to = isMatrix ? n * l.outputs + c : (n * (ys[1] as number) + c) * positions + p
          result[to] = q ? held(f(f(sum) * f(unit / q.coding.scale)), q.coding) : f(f(sum) * f(unit))
        }
      }
    if (q) give(q, result as Float64Array)
    else reals.set(out, result as Float32Array)
  }

  function give(q: Quantizer, result: Float64Array): void {
    codes.set(q.out, { ...q.coding, codes: result })
    done.add(q.node)
  }

  function other(node: Node, q: Quantizer): Float64Array {
    const out = node.outputs[0] as string
    const view = viewOf(model, graph, node)
    const loops = opFor(node)?.loops?.(view)
    const inputs = node.inputs.map(read)
    const [x] = inputs
    const [xs, ys] = [shape(node.inputs[0] as string), shape(out)]
    if (!x) throw new Error(`${node.name}: not on codes`)
    const same = (c: Codes | undefined): boolean => c?.scale === q.coding.scale && c.zero === q.coding.zero
    const count = elementCount(ys)
    const inverse = f(1 / q.coding.scale)
    if (opFor(node)?.elements === 'inOrder' && same(x)) return x.codes
    if (loops?.is === 'lanes') {
      return Float64Array.from({ length: count }, (_, i) => {
        const operands = inputs.map((c, k): Expr => {
          const value = c ? f(((c.codes[i] as number) - c.zero) * f(c.scale)) : one(node.inputs[k])
          return { is: 'const', kind: 'f32', value }
        })
        return held(f(evaluate(loops.value(operands)) * inverse), q.coding)
      })
    }
    if (loops?.is === 'copies') {
      const filler = loops.fill === undefined ? 0 : Math.round(loops.fill / q.coding.scale) + q.coding.zero
      const result = new Float64Array(count).fill(filler)
      for (const c of loops.copies) {
        const strides = stridesOf(c.sizes)
        for (let i = 0; i < elementCount(c.sizes); i++) {
          let [from, to] = [c.fromOffset, c.toOffset]
          for (const [a, size] of c.sizes.entries()) {
            const at = Math.floor(i / (strides[a] as number)) % size
            from += at * (c.from[a] as number)
            to += at * (c.to[a] as number)
          }
          if (!same(inputs[c.input])) throw new Error(`${node.name}: scales differ`)
          result[to] = inputs[c.input]?.codes[from] as number
        }
      }
      return result
    }
    if (loops?.is === 'body' && loops.means) {
      const { outer, count: n } = loops.means
      return Float64Array.from({ length: outer }, (_, o) => {
        let sum = 0
        for (let i = 0; i < n; i++) sum += (x.codes[o * n + i] as number) - x.zero
        return held(f(f(sum) * f(x.scale / q.coding.scale / n)), q.coding)
      })
    }
    if (loops?.is !== 'pool') throw new Error(`${node.name}: no loops`)
    const [ih, iw, oh, ow] = [xs[2], xs[3], ys[2], ys[3]] as [number, number, number, number]
    const [ay, ax] = loops.axes as [(typeof loops.axes)[0], (typeof loops.axes)[0]]
    const result = new Float64Array(count)
    for (let i = 0; i < count; i++) {
      const [map, r, c] = [Math.floor(i / (oh * ow)), Math.floor(i / ow) % oh, i % ow]
      let [sum, most] = [0, Number.NEGATIVE_INFINITY]
      for (let ky = 0; ky < ay.kernel; ky++)
        for (let kx = 0; kx < ax.kernel; kx++) {
          const [py, px] = [r * ay.stride + ky * ay.dilation - ay.before, c * ax.stride + kx * ax.dilation - ax.before]
          if (py < 0 || py >= ih || px < 0 || px >= iw) continue
          const v = x.codes[map * ih * iw + py * iw + px] as number
          sum += v - x.zero
          most = Math.max(most, v)
        }
      result[i] =
        loops.by === 'max' ? most : held(f(f(sum) * f(x.scale / q.coding.scale / (loops.divisors as number))), q.coding)
    }
    return result
  }

  for (const node of graph.nodes) {
    const [first, out] = [node.inputs[0] as string, node.outputs[0] as string]
    if (done.has(node) || node.op === 'DequantizeLinear') continue
    if (node.op === 'QuantizeLinear') {
      const c = coding(node, out)
      const x = reals.get(first) as Float32Array
      codes.set(out, { ...c, codes: Float64Array.from(x, (v) => held(f(v * f(1 / c.scale)), c)) })
      continue
    }
    const l = linearOf(graphView(graph), node)
    const x = l && read(node.inputs[l.data])
    if (l && x) layer(node, l, x)
    else {
      const q = quantizer(out)
      if (!q) throw new Error(`${node.name}: floats`)
      give(q, other(node, q))
    }
  }
  return Object.fromEntries(
    graph.outputs.map((id) => {
      const c = read(id)
      return [id, c ? Float32Array.from(c.codes, (q) => f((q - c.zero) * f(c.scale))) : (reals.get(id) as Float32Array)]
    })
  )
}
