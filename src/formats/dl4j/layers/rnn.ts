/**
 * Recurrent layers. An LSTM of DL4J has blocks of 4n in the order I (candidate), F (forget), O (output), G (input gate); ONNX's
 * are i, o, f, c, which are G, O, F, I. Peepholes are columns wFF, wOO, wGG behind RW; ONNX's are i, o, f.
 */
import { attrs as makeAttrs } from '../../../ir/attrs.ts'
import type { Attr, Graph, Node, Value } from '../../../types.ts'
import { activationOf, recurrentActivation } from '../activations.ts'
import { type Conf, flag, inner, num, patched, text, width } from '../conf.ts'
import { field } from '../json.ts'
import type { Net, NodeAttrs, Signal } from '../net.ts'
import type { Turn } from '../pieces.ts'
import { seriesAxes } from './axes.ts'
import type { Fields, Layer, Layers, ShapeOf } from './types.ts'

/** A recurrent operator with its constants. `states`: 2 where it carries a cell beside its output. */
interface Cell {
  readonly op: string
  readonly n: number
  readonly states: 1 | 2
  /** W, R, B, and P where there are peepholes. */
  readonly constants: readonly [w: string, r: string, b: string, p: string | undefined]
  readonly attrs: NodeAttrs
}

type MakeCell = (net: Net, c: Conf, prefix: string) => Cell

const reversed = [3, 2, 1, 0]

function activations(net: Net, confs: readonly Conf[]): NodeAttrs {
  const all = confs.map((c) => recurrentActivation(net, c))
  const alphas = all.flatMap((a) => (a.alpha === undefined ? [] : [a.alpha]))
  const betas = all.flatMap((a) => (a.beta === undefined ? [] : [a.beta]))
  const floats = (value: readonly number[]): Attr | undefined =>
    value.length > 0 ? { kind: 'floats', value } : undefined
  return { activations: all.map((a) => a.name), activation_alpha: floats(alphas), activation_beta: floats(betas) }
}

const lstm =
  (peepholes: boolean): MakeCell =>
  (net, c, prefix) => {
    const [nIn, n] = [width(c, 'nin'), width(c, 'nout')]
    const gates: Turn = { blocks: reversed }
    const w = net.take(`${prefix}W`, [4, n, nIn], { ...gates, shape: [1, 4 * n, nIn] })
    const r = net.take(`${prefix}RW`, [4, n, n], { ...gates, shape: [1, 4 * n, n] })
    const p = peepholes
      ? net.take(`${prefix}RW.peepholes`, [3, n], { blocks: [2, 1, 0], shape: [1, 3 * n] })
      : undefined
    const b = net.take(`${prefix}b`, [4, n], { ...gates, shape: [1, 8 * n], zeros: 4 * n })
    const [gate, act] = [activationOf(c, 'gateActivationFn'), activationOf(c)]
    return {
      op: 'LSTM',
      n,
      states: 2,
      constants: [w, r, b, p],
      attrs: { hidden_size: n, ...activations(net, [gate, act, act]) }
    }
  }

const simple: MakeCell = (net, c, prefix) => {
  const [nIn, n] = [width(c, 'nin'), width(c, 'nout')]
  if (flag(c, 'hasLayerNorm', false)) throw net.fail('a SimpleRnn with layer normalization', 'E_UNSUPPORTED')
  const w = net.take(`${prefix}W`, [n, nIn], { shape: [1, n, nIn] })
  const r = net.take(`${prefix}RW`, [n, n], { shape: [1, n, n] })
  const b = net.take(`${prefix}b`, [n], { shape: [1, 2 * n], zeros: n })
  return {
    op: 'RNN',
    n,
    states: 1,
    constants: [w, r, b, undefined],
    attrs: { hidden_size: n, ...activations(net, [activationOf(c)]) }
  }
}

const cells: Readonly<Record<string, MakeCell>> = { LSTM: lstm(false), GravesLSTM: lstm(true), SimpleRnn: simple }

function run(net: Net, x: Signal, cell: Cell, direction?: 'reverse'): Signal {
  const [w, r, b, p] = cell.constants
  const inputs = [net.as(x, 'TNC'), w, r, b, ...(p === undefined ? [] : [null, null, null, p])]
  const y = net.op(cell.op, inputs, { ...cell.attrs, ...(direction ? { direction } : {}) })
  const id = net.op('Squeeze', [y, net.constant('axis', 'int64', [1], [1])])
  return { id, axes: x.axes, held: 'TNC', sizes: { ...x.sizes, C: cell.n } }
}

function wantsSeries(net: Net, x: Signal, c: Conf): void {
  if (!['NCT', 'NTC'].includes(x.axes)) throw net.fail(`${c.kind} takes series; the values have the axes ${x.axes}`)
}

const narrow =
  (prefix: string) =>
  (_: Conf, shape: ShapeOf): Fields => {
    const [w, r] = [shape(`${prefix}W`), shape(`${prefix}RW`)]
    return w && r ? { nin: w[2] as number, nout: r[2] as number } : {}
  }

const recurrent = (make: MakeCell): Layer => ({
  takes: seriesAxes,
  width: (c) => width(c, 'nin'),
  narrow: narrow(''),
  build: (net, x, c) => {
    wantsSeries(net, x, c)
    return run(net, x, make(net, c, ''))
  }
})

const cellOf = (net: Net, c: Conf, prefix: string): Cell => {
  const make = cells[c.kind]
  if (!make)
    throw net.fail(`a wrapper around ${c.kind}`, 'E_UNSUPPORTED', 'LSTM, GravesLSTM and SimpleRnn are known there')
  return make(net, c, prefix)
}

/** The second layer runs over the series from its end; both results stand at the step that they are of. */
const bidirectional: Layer = {
  takes: (c) => seriesAxes(inner(c, 'fwd')),
  width: (c) => width(inner(c, 'fwd'), 'nin'),
  narrow: (c, shape) => ({
    fwd: patched(field(c.fields, 'fwd') ?? null, narrow('f')(c, shape)),
    bwd: patched(field(c.fields, 'bwd') ?? null, narrow('b')(c, shape))
  }),
  build: (net, x, c) => {
    wantsSeries(net, x, c)
    const forward = run(net, x, cellOf(net, inner(c, 'fwd'), 'f'))
    const backward = run(net, x, cellOf(net, inner(c, 'bwd'), 'b'), 'reverse')
    const pair = [forward.id, backward.id]
    const mode = text(c, 'mode', 'CONCAT')
    switch (mode) {
      case 'CONCAT':
        return {
          ...forward,
          id: net.op('Concat', pair, { axis: 2 }),
          sizes: { ...forward.sizes, C: 2 * Number(forward.sizes.C) }
        }
      case 'ADD':
        return { ...forward, id: net.op('Add', pair) }
      case 'MUL':
        return { ...forward, id: net.op('Mul', pair) }
      case 'AVERAGE':
        return { ...forward, id: net.op('Mul', [net.op('Add', pair), net.constant('half', 'float32', [], [0.5])]) }
    }
    throw net.fail(`the mode ${mode} is not known`, 'E_UNSUPPORTED')
  }
}

/** Keys of both directions end in F and B. */
const gravesBidirectional: Layer = {
  takes: seriesAxes,
  width: (c) => width(c, 'nin'),
  narrow: narrow('F/'),
  build: (net, x, c) => {
    wantsSeries(net, x, c)
    const forward = run(net, x, lstm(true)(net, c, 'F/'))
    const backward = run(net, x, lstm(true)(net, c, 'B/'), 'reverse')
    return { ...forward, id: net.op('Add', [forward.id, backward.id]) }
  }
}

/** The step at the end of a series. */
export function lastStep(net: Net, x: Signal): Signal {
  if (!x.axes.includes('T')) throw net.fail(`it takes series; the values have the axes ${x.axes}`)
  const id = net.op('Gather', [x.id, net.constant('last', 'int64', [], [-1])], { axis: x.held.indexOf('T') })
  const held = x.held.replace('T', '')
  return { id, axes: 'NC', held, sizes: { N: x.sizes.N ?? '?', C: x.sizes.C ?? '?' } }
}

// ---------------------------------------------------------------- masked steps

/** A tensor's entry in the table of a subgraph. */
const entry = (id: string): [string, Value] => [id, { id, type: 'tensor', dtype: 'float32' }]

/** A subgraph; its values are named within the step. */
export function bodyOf(
  inputs: readonly string[],
  nodes: readonly (readonly [
    op: string,
    inputs: readonly (string | null)[],
    outputs: readonly string[],
    attrs?: NodeAttrs
  ])[],
  outputs: readonly string[]
): Graph {
  const made: readonly Node[] = nodes.map(([op, ins, outs, attributes], i) => ({
    name: outs.find((id) => id !== '') ?? `${op}_${i}`,
    op,
    inputs: ins,
    outputs: outs,
    attrs: makeAttrs(attributes ?? {})
  }))
  const ids = [...inputs, ...made.flatMap((n) => n.outputs)].filter((id) => id !== '')
  return { name: 'body', inputs, outputs, nodes: made, values: new Map(ids.map(entry)) }
}

/** Zeros of shape `[...front, N, n]` for the N of a value with the axes TNC. */
export function zerosFor(net: Net, series: string, front: readonly number[], n: number): string {
  const batch = net.op('Shape', [series], { start: 1, end: 2 })
  const vector = (hint: string, of: readonly number[]): string => net.constant(hint, 'int64', [of.length], of)
  const shape = net.op('Concat', [...(front.length > 0 ? [vector('front', front)] : []), batch, vector('n', [n])], {
    axis: 0
  })
  return net.op('ConstantOfShape', [shape])
}

/**
 * Steps at which every feature is `maskingValue` set output and cell to zero. Scan runs the layer step by step; beside its states
 * it carries the output of the last step that is not masked. Returns the series and that output.
 */
function masked(net: Net, x: Signal, c: Conf): readonly [series: Signal, last: Signal] {
  wantsSeries(net, x, c)
  const cell = cellOf(net, inner(c, 'underlying'), '')
  const isLstm = cell.states === 2
  const series = net.as(x, 'TNC')
  const masking = net.constant('masking', 'float32', [], [num(c, 'maskingValue', 0)])
  const differs = net.op('Cast', [net.op('Not', [net.op('Equal', [series, masking])])], { to: 1 })
  const mask = net.op('ReduceMax', [differs, net.constant('axes', 'int64', [1], [2])], { keepdims: 1 })
  const zeros = zerosFor(net, series, [1], cell.n)
  const first = net.constant('axis', 'int64', [1], [0])
  const one = net.constant('one', 'float32', [], [1])
  const [w, r, b, p] = cell.constants
  const id = (k: string): string => `${mask}/${k}`
  const states = (k: string): readonly string[] => (isLstm ? [id(`h${k}`), id(`c${k}`)] : [id(`h${k}`)])
  const peepholes = p === undefined ? [] : [...(isLstm ? [] : [null]), p]
  const body = bodyOf(
    [...states(''), id('last'), id('x'), id('m')],
    [
      ['Unsqueeze', [id('x'), first], [id('x1')]],
      [cell.op, [id('x1'), w, r, b, null, ...states(''), ...peepholes], ['', ...states('1')], cell.attrs],
      ...states('1').map((s, i) => ['Mul', [s, id('m')], [states('2')[i] as string]] as const),
      ['Sub', [one, id('m')], [id('kept')]],
      ['Mul', [id('last'), id('kept')], [id('old')]],
      ['Add', [id('h2'), id('old')], [id('last2')]],
      ['Squeeze', [id('h2'), first], [id('y')]]
    ],
    [...states('2'), id('last2'), id('y')]
  )
  const made = net.op(
    'Scan',
    [...Array(cell.states + 1).fill(zeros), series, mask],
    { body: { kind: 'graph', value: body }, num_scan_inputs: 2 },
    cell.states + 2
  )
  const outputs = net.outputsOf(made)
  const sizes = { ...x.sizes, C: cell.n }
  return [
    { id: outputs[cell.states + 1] as string, axes: x.axes, held: 'TNC', sizes },
    { id: outputs[cell.states] as string, axes: x.axes, held: 'TNC', sizes }
  ]
}

const maskZero: Layer = {
  takes: (c) => seriesAxes(inner(c, 'underlying')),
  width: (c) => width(inner(c, 'underlying'), 'nin'),
  narrow: (c, shape) => ({ underlying: patched(field(c.fields, 'underlying') ?? null, narrow('')(c, shape)) }),
  build: (net, x, c) => masked(net, x, c)[0],
  last: (net, x, c) => lastStep(net, masked(net, x, c)[1])
}

export const rnnLayers: Layers = {
  LSTM: recurrent(lstm(false)),
  GravesLSTM: recurrent(lstm(true)),
  SimpleRnn: recurrent(simple),
  Bidirectional: bidirectional,
  GravesBidirectionalLSTM: gravesBidirectional,
  MaskZeroLayer: maskZero
}
