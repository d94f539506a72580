/**
 * The ONNX graph of a network under construction. Layers see signals: values with their axes as DL4J has them, which the graph
 * may hold in another order, so that networks of either layout run without a turn between layers.
 */
import { unknownDim } from '../../base/dim.ts'
import { PareError } from '../../base/errors.ts'
import { attrs as makeAttrs } from '../../ir/attrs.ts'
import { tensor } from '../../ir/tensor.ts'
import type { AttrInput, Dim, DType, Graph, Node, Tensor, Value } from '../../types.ts'
import { type Piece, shapeOfPiece, type Turn } from './pieces.ts'

/**
 * Axes are letters: N samples, C channels or features, H W D places, T steps. `held` has a T that `axes` lacks where steps are
 * folded into samples, as DL4J does for layers that know no time.
 */
export interface Signal {
  readonly id: string
  /** In the order of DL4J, such as `NCHW`, `NHWC`, `NCT`, `NC`. */
  readonly axes: string
  /** In the order of the graph's value. */
  readonly held: string
  readonly sizes: Readonly<Record<string, Dim>>
}

/** Gives the numbers of parameters: out of an archive, or of a model that is to be written. */
export type Supply = (piece: Piece) => Tensor

export type NodeAttrs = Readonly<Record<string, AttrInput | undefined>>

export interface Net {
  /** Begins a layer or vertex: names are made from its own. */
  begin(step: string): void
  /** The step's result gets the step's name. */
  end(x: Signal): Signal
  input(id: string, axes: string, sizes: Readonly<Record<string, Dim>>): Signal
  /** Adds a node; returns the id of its first output. `outputs`: how many it has. */
  op(op: string, inputs: readonly (string | null)[], attrs?: NodeAttrs, outputs?: number): string
  /** Every output of the node that made a value. */
  outputsOf(id: string): readonly string[]
  /** A constant that is no parameter. */
  constant(hint: string, dtype: DType, shape: readonly number[], values: readonly number[]): string
  /** The next parameter of the flat vector, `view` its shape row-major. Returns the id of the constant. */
  take(key: string, view: readonly number[], turn?: Turn): string
  /** Parameters that the network does not compute with. */
  skip(key: string, count: number): void
  /** The value with its axes in the given order; T beside N where steps are folded. */
  as(x: Signal, held: string): string
  /** What the configuration says of a value's shape. */
  declare(id: string, shape: readonly Dim[]): void
  /** The number of samples, as a vector of one. */
  batch(): string
  fail(message: string, code?: 'E_FORMAT' | 'E_UNSUPPORTED', hint?: string): PareError
  /** Elements of the flat vector taken so far. */
  taken(): number
  readonly pieces: readonly Piece[]
  readonly unused: readonly { readonly key: string; readonly at: number; readonly count: number }[]
  graph(outputs: readonly (readonly [name: string, x: Signal])[]): Graph
}

export function netOf(supply: Supply): Net {
  const values = new Map<string, Value>()
  const inputs: string[] = []
  const nodes: Node[] = []
  const pieces: Piece[] = []
  const unused: { key: string; at: number; count: number }[] = []
  const turned = new Map<string, string>()
  let step = ''
  let first = 0
  let at = 0

  const fresh = (hint: string): string => {
    let id = hint
    for (let i = 1; values.has(id); i++) id = `${hint}_${i}`
    return id
  }
  const addConstant = (id: string, data: Tensor): string => {
    values.set(id, { id, type: 'tensor', dtype: data.dtype, shape: data.shape, data })
    return id
  }
  const op: Net['op'] = (name, ins, attributes = {}, outputs = 1) => {
    const ids = Array.from({ length: outputs }, () => {
      const id = fresh(`${step}/${name}`)
      values.set(id, { id, type: 'tensor' })
      return id
    })
    nodes.push({ name: ids[0] as string, op: name, inputs: ins, outputs: ids, attrs: makeAttrs(attributes) })
    return ids[0] as string
  }
  const fail: Net['fail'] = (message, code = 'E_FORMAT', hint) =>
    new PareError(code, message, { where: step, ...(hint === undefined ? {} : { hint }) })

  const as: Net['as'] = (x, held) => {
    if (x.held === held) return x.id
    if (x.held.length === held.length && Array.from(held).every((a) => x.held.includes(a))) {
      const key = `${x.id} ${held}`
      const known = turned.get(key)
      if (known) return known
      const made = op('Transpose', [x.id], { perm: Array.from(held, (a) => x.held.indexOf(a)) })
      turned.set(key, made)
      return made
    }
    if (x.held.includes('T') && !held.includes('T') && x.held.length === held.length + 1) {
      const rest = Array.from(held).filter((a) => a !== 'N')
      const open = as({ ...x, id: x.id }, ['N', 'T', ...rest].join(''))
      const sizes = rest.map((a) => x.sizes[a])
      if (held[0] === 'N' && sizes.every((n): n is number => typeof n === 'number'))
        return op('Reshape', [open, shape([-1, ...sizes])])
    }
    throw fail(`the values have the axes ${x.axes}, where ${held} are wanted`, 'E_UNSUPPORTED')
  }
  const shape = (to: readonly number[]): string => constant('shape', 'int64', [to.length], to)
  const constant: Net['constant'] = (hint, dtype, dims, all) =>
    addConstant(fresh(`${step}/${hint}`), tensor(dtype, dims, all))

  /** The node that made `from` makes `to`. */
  const rename = (from: string, to: string): void => {
    const value = values.get(from) as Value
    values.delete(from)
    values.set(to, { ...value, id: to })
    for (const [i, n] of nodes.entries()) {
      if (!n.outputs.includes(from) && !n.inputs.includes(from)) continue
      const swap = <T>(id: T): T => (id === from ? (to as T) : id)
      const name = n.outputs[0] === from ? to : n.name
      nodes[i] = { ...n, name, inputs: n.inputs.map(swap), outputs: n.outputs.map(swap) }
    }
    for (const [key, id] of turned) if (id === from) turned.set(key, to)
    for (const [key, id] of [...turned])
      if (key.startsWith(`${from} `)) turned.set(`${to}${key.slice(from.length)}`, id)
  }
  const isMade = (id: string, since: number): boolean => nodes.slice(since).some((n) => n.outputs.includes(id))

  return {
    begin: (name) => {
      step = name
      first = nodes.length
    },
    end: (x) => {
      if (x.id === step || values.has(step) || !isMade(x.id, first)) return x
      rename(x.id, step)
      return { ...x, id: step }
    },
    input: (id, axes, sizes) => {
      const dims = Array.from(axes, (a) => sizes[a] ?? unknownDim)
      values.set(id, { id, type: 'tensor', dtype: 'float32', shape: dims })
      inputs.push(id)
      return { id, axes, held: axes, sizes }
    },
    op,
    outputsOf: (id) => nodes.find((n) => n.outputs[0] === id)?.outputs ?? [],
    constant,
    take: (key, view, turning = {}) => {
      const piece: Piece = { ...turning, id: fresh(`${step}.${key}`), at, view }
      at += view.reduce((n, d) => n * d, 1)
      if (!Number.isSafeInteger(at)) throw fail(`${key} would have the shape [${view}]`)
      pieces.push(piece)
      const data = supply(piece)
      const wanted = shapeOfPiece(piece)
      if (data.shape.length !== wanted.length || data.shape.some((d, i) => d !== wanted[i]))
        throw fail(`${key} has the shape [${data.shape}], where its layer has [${wanted}]`)
      return addConstant(piece.id, data)
    },
    skip: (key, count) => {
      unused.push({ key: `${step}.${key}`, at, count })
      at += count
    },
    as,
    declare: (id, dims) => {
      const value = values.get(id)
      if (value && !value.data && !inputs.includes(id)) values.set(id, { ...value, dtype: 'float32', shape: dims })
    },
    batch: () => op('Shape', [inputs[0] as string], { start: 0, end: 1 }),
    fail,
    taken: () => at,
    pieces,
    unused,
    graph: (outputs) => {
      const ids = outputs.map(([name, x]) => {
        step = name
        const id = as(x, x.axes)
        if (id === name) return name
        if (isMade(id, 0) && !outputs.some(([other]) => other === id) && !values.has(name)) rename(id, name)
        else {
          const made = op('Identity', [id])
          if (values.has(name)) rename(name, fresh(`${name}/held`))
          rename(made, name)
        }
        return name
      })
      return { name: 'graph', inputs, outputs: ids, nodes, values }
    }
  }
}
