/** Sizes: bytes of files, plain and compressed for transfer, and parameters of models. */
import { Gzip } from 'fflate'
import { part } from '../base/bytes.ts'
import { allGraphs, constant, consumers, opName } from '../ir/graph.ts'
import { bitsOf, elementCount, isFloat, isInteger, toNumbers } from '../ir/tensor.ts'
import type { Bytes, Graph, Model, Node, Tensor } from '../types.ts'

export interface Sizes {
  readonly bytes: number
  readonly gzipBytes?: number
  readonly brotliBytes?: number
}

/** Files above this are not compressed for a look: that would take minutes. */
export const largestCompressed = 256 * 1024 * 1024

/**
 * Bytes of a model's files, and of each compressed on its own as a web server would. gzip at level 6; `brotli` gives
 * the compressed length of some bytes. Compressed sizes are absent above `largestCompressed`.
 */
export function sizeOf(files: readonly Bytes[], brotli?: (bytes: Uint8Array) => number): Sizes {
  const bytes = files.reduce((n, f) => n + f.length, 0)
  if (bytes > largestCompressed) return { bytes }
  const gzipBytes = files.reduce((n, f) => n + gzipLength(f), 0)
  if (!brotli) return { bytes, gzipBytes }
  return { bytes, gzipBytes, brotliBytes: files.reduce((n, f) => n + brotli(f.slice()), 0) }
}

const chunk = 1024 * 1024

function gzipLength(bytes: Bytes): number {
  let length = 0
  const gzip = new Gzip({ level: 6, mtime: 0 }, (out) => {
    length += out.length
  })
  for (let at = 0; at < bytes.length || at === 0; at += chunk)
    gzip.push(bytes.slice(at, Math.min(at + chunk, bytes.length)), at + chunk >= bytes.length)
  return length
}

export interface Parameters {
  /** Elements of weights, biases and running statistics; not of shapes, scales and zero points. */
  readonly parameters: number
  /** Those that do not stand for zero. */
  readonly nonzeroParameters: number
}

/** Counts the trained numbers of a model. A quantized weight counts like the float it stands for. */
export function parametersOf(model: Model): Parameters {
  const all = trained(model)
  return {
    parameters: all.reduce((n, { data }) => n + elementCount(data.shape), 0),
    nonzeroParameters: all.reduce((n, { data, zeroPoint }) => n + nonzero(data, zeroPoint), 0)
  }
}

/** The number of trained numbers alone: no weight is read. */
export const parameterCount = (model: Model): number =>
  trained(model).reduce((n, { data }) => n + elementCount(data.shape), 0)

interface Trained {
  readonly data: Tensor
  readonly zeroPoint?: ZeroPoint
}

const trained = (model: Model): readonly Trained[] =>
  allGraphs(model).flatMap((graph) =>
    [...graph.values.values()].flatMap(({ id, data }) => {
      const role = data && roleOf(graph, id, data)
      return data && role ? [{ data, ...role }] : []
    })
  )

/** Inputs that hold scales and zero points rather than weights. */
const grid: Readonly<Record<string, readonly number[]>> = {
  QuantizeLinear: [1, 2],
  DequantizeLinear: [1, 2],
  QLinearConv: [1, 2, 4, 5, 6, 7],
  QLinearMatMul: [1, 2, 4, 5, 6, 7],
  ConvInteger: [2, 3],
  MatMulInteger: [2, 3],
  'com.microsoft:QGemm': [1, 2, 4, 5, 7, 8],
  'com.microsoft:QLinearAdd': [1, 2, 4, 5, 6, 7],
  'com.microsoft:QLinearMul': [1, 2, 4, 5, 6, 7],
  'com.microsoft:DynamicQuantizeMatMul': [2, 3],
  'com.microsoft:MatMulIntegerToFloat': [2, 3, 4, 5],
  'com.microsoft:MatMulNBits': [2, 3]
}

/** Where an integer weight has its zero point, by operator and position of the weight. */
const zeroPoints: Readonly<Record<string, Readonly<Record<number, number | undefined>>>> = {
  DequantizeLinear: { 0: 2 },
  QLinearConv: { 3: 5, 8: undefined },
  QLinearMatMul: { 0: 2, 3: 5 },
  ConvInteger: { 1: 3 },
  MatMulInteger: { 0: 2, 1: 3 },
  'com.microsoft:QGemm': { 3: 5, 6: undefined },
  'com.microsoft:DynamicQuantizeMatMul': { 1: 3 },
  'com.microsoft:MatMulIntegerToFloat': { 1: 5 }
}

/** Set where a constant is a parameter; with the zero point where one shifts its codes. */
function roleOf(graph: Graph, id: string, data: Tensor): { zeroPoint?: ZeroPoint } | undefined {
  const readers = consumers(graph, id)
  const uses = readers.flatMap((node) => node.inputs.flatMap((input, at) => (input === id ? [{ node, at }] : [])))
  if (isFloat(data.dtype)) {
    const onlyGrid = uses.length > 0 && uses.every(({ node, at }) => grid[opName(node)]?.includes(at))
    return onlyGrid ? undefined : {}
  }
  if (!isInteger(data.dtype)) return undefined
  for (const { node, at } of uses) {
    const known = zeroPoints[opName(node)]
    if (!known || !(at in known)) continue
    const position = known[at]
    const zero = position === undefined ? undefined : constant(graph, node.inputs[position])
    return zero ? { zeroPoint: { data: zero, node } } : {}
  }
  return undefined
}

interface ZeroPoint {
  readonly data: Tensor
  readonly node: Node
}

function nonzero(data: Tensor, zeroPoint: ZeroPoint | undefined): number {
  const zeros = zeroPoint ? Array.from(toNumbers(zeroPoint.data)) : [0]
  const first = zeros[0] ?? 0
  const inner = zeros.every((v) => v === first) ? undefined : channelRun(data, zeros.length, zeroPoint?.node)
  const count = elementCount(data.shape)
  let n = 0
  const step = chunk
  for (let at = 0; at < count; at += step) {
    const piece = toNumbers(slice(data, at, Math.min(at + step, count)))
    for (let i = 0; i < piece.length; i++) {
      const zero = inner === undefined ? first : zeros[Math.floor((at + i) / inner) % zeros.length]
      if (piece[i] !== zero) n++
    }
  }
  return n
}

/** Elements in a row that share a channel's zero point. */
function channelRun(data: Tensor, channels: number, node: Node | undefined): number {
  const given = node?.attrs['axis']
  const axis = given?.kind === 'int' ? given.value : 1
  const from = axis < 0 ? axis + data.shape.length : axis
  return data.shape[from] === channels ? elementCount(data.shape.slice(from + 1)) : elementCount(data.shape) / channels
}

/** Elements `from` to `to` as a flat tensor; `from` is on a byte's border. */
function slice(t: Tensor, from: number, to: number): Tensor {
  const bits = bitsOf(t.dtype)
  return {
    dtype: t.dtype,
    shape: [to - from],
    bytes: part(t.bytes, (from * bits) / 8, Math.ceil((to * bits) / 8))
  }
}
