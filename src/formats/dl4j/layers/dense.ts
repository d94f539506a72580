/** Layers that multiply features by a matrix or a vector: `W` is column-major `[nIn, nOut]`, which is row-major `[nOut, nIn]`. */
import { float } from '../../../ir/attrs.ts'
import { activate, activationOf } from '../activations.ts'
import { type Conf, confOf, flag, whole, wholes, width } from '../conf.ts'
import { field } from '../json.ts'
import type { Net, Signal } from '../net.ts'
import { seriesAxes } from './axes.ts'
import type { Fields, Layer, Layers, ShapeOf } from './types.ts'

/** x·W + b on features; steps, folded or not, stay beside them. */
export function product(
  net: Net,
  x: Signal,
  c: Conf,
  o: { readonly bias: boolean; readonly keys?: readonly [string, string] }
): Signal {
  const [w, b] = o.keys ?? ['W', 'b']
  const [nIn, nOut] = [width(c, 'nin'), width(c, 'nout')]
  const sizes = { ...x.sizes, C: nOut }
  if (!x.held.includes('T')) {
    const id = net.as(x, 'NC')
    const weight = net.take(w, [nOut, nIn])
    return {
      axes: 'NC',
      held: 'NC',
      sizes,
      id: net.op('Gemm', [id, weight, ...(o.bias ? [net.take(b, [nOut])] : [])], { transB: 1 })
    }
  }
  const id = net.as(x, 'NTC')
  const y = net.op('MatMul', [id, net.take(w, [nOut, nIn], { perm: [1, 0] })])
  return { ...x, held: 'NTC', sizes, id: o.bias ? net.op('Add', [y, net.take(b, [nOut])]) : y }
}

/** W is `[nOut, nIn]` where it multiplies samples, `[nIn, nOut]` where it multiplies steps. */
function narrowDense(c: Conf, shape: ShapeOf): Fields {
  const w = shape('W')
  const [nIn, nOut] = [whole(c, 'nin'), whole(c, 'nout')]
  if (!w) return {}
  const b = shape('b')
  const isTurned = b ? b[0] !== w[0] : w[0] === nIn && nIn !== nOut
  return isTurned ? { nin: w[0] as number, nout: w[1] as number } : { nin: w[1] as number, nout: w[0] as number }
}

const dense: Layer = {
  takes: () => 'NC',
  width: (c) => width(c, 'nin'),
  narrow: narrowDense,
  build: (net, x, c) => {
    if (!flag(c, 'hasLayerNorm', false))
      return activate(net, product(net, x, c, { bias: flag(c, 'hasBias', true) }), activationOf(c), 'C')
    const [nIn, nOut] = [width(c, 'nin'), width(c, 'nout')]
    const y = net.op('Gemm', [net.as(x, 'NC'), net.take('W', [nOut, nIn])], { transB: 1 })
    const bias = flag(c, 'hasBias', true) ? [net.take('b', [nOut])] : []
    const id = net.op('LayerNormalization', [y, net.take('g', [nOut]), ...bias], { axis: -1, epsilon: float(0) })
    return activate(net, { id, axes: 'NC', held: 'NC', sizes: { ...x.sizes, C: nOut } }, activationOf(c))
  }
}

const rnnOutput: Layer = {
  takes: seriesAxes,
  width: (c) => width(c, 'nin'),
  narrow: narrowDense,
  build: (net, x, c) => {
    if (!x.axes.includes('T')) throw net.fail(`it takes series; the values have the axes ${x.axes}`)
    return activate(net, product(net, x, c, { bias: flag(c, 'hasBias', true) }), activationOf(c), 'C')
  }
}

const withRest = (rest: (net: Net, c: Conf) => void): Layer => ({
  ...dense,
  build: (net, x, c) => {
    const y = dense.build(net, x, c)
    rest(net, c)
    return y
  }
})

/** Indices as floats; W is read by rows, one a word. */
function embed(net: Net, index: string, c: Conf): string {
  const [nIn, nOut] = [width(c, 'nin'), width(c, 'nout')]
  const rows = net.take('W', [nOut, nIn], { perm: [1, 0] })
  const y = net.op('Gather', [rows, net.op('Cast', [index], { to: 7 })], { axis: 0 })
  return flag(c, 'hasBias', false) ? net.op('Add', [y, net.take('b', [nOut])]) : y
}

const narrowEmbedding = (_: Conf, shape: ShapeOf): Fields => {
  const w = shape('W')
  return w ? { nin: w[0] as number, nout: w[1] as number } : {}
}

const embedding: Layer = {
  takes: () => 'NC',
  width: () => 1,
  narrow: narrowEmbedding,
  build: (net, x, c) => {
    const flat = net.op('Reshape', [net.as(x, 'NC'), net.constant('shape', 'int64', [1], [-1])])
    const sizes = { ...x.sizes, C: width(c, 'nout') }
    return activate(net, { id: embed(net, flat, withBias(c)), axes: 'NC', held: 'NC', sizes }, activationOf(c))
  }
}

/** EmbeddingLayer of 0.9.1 always has a bias and does not say so. */
const withBias = (c: Conf): Conf =>
  field(c.fields, 'hasBias') === undefined ? { ...c, fields: { ...c.fields, hasBias: true } } : c

const embeddingSequence: Layer = {
  takes: () => 'NT',
  narrow: narrowEmbedding,
  build: (net, x, c) => {
    const sizes = { N: x.sizes.N ?? '?', T: x.sizes.T ?? '?', C: width(c, 'nout') }
    const y = { id: embed(net, net.as(x, 'NT'), c), axes: seriesAxes(c, 'outputFormat'), held: 'NTC', sizes }
    return activate(net, y, activationOf(c), 'C')
  }
}

/** What a distribution of the decoder has for each input. */
function decoded(net: Net, c: Conf, nIn: number): number {
  const distribution = confOf(field(c.fields, 'outputDistribution'), c.where, 'distribution')
  if (distribution.kind === 'GaussianReconstructionDistribution') return 2 * nIn
  if (
    ['BernoulliReconstructionDistribution', 'ExponentialReconstructionDistribution', 'LossFunctionWrapper'].includes(
      distribution.kind
    )
  )
    return nIn
  throw net.fail(`the distribution ${distribution.kind} is not known`, 'E_UNSUPPORTED')
}

/** Used as a layer, a VariationalAutoencoder gives the mean of its code; the decoder is training's. */
const variational: Layer = {
  takes: () => 'NC',
  width: (c) => width(c, 'nin'),
  build: (net, x, c) => {
    const of = (nin: number, nout: number): Conf => ({ ...c, fields: { nin, nout } })
    const sizesOf = (name: string): readonly number[] => {
      const all = field(c.fields, name)
      return wholes(c, name, Array.isArray(all) ? all.length : 0)
    }
    const [nIn, nOut] = [width(c, 'nin'), width(c, 'nout')]
    let y = x
    let last = nIn
    for (const [i, n] of sizesOf('encoderLayerSizes').entries()) {
      y = activate(net, product(net, y, of(last, n), { bias: true, keys: [`e${i}W`, `e${i}b`] }), activationOf(c))
      last = n
    }
    y = product(net, y, of(last, nOut), { bias: true, keys: ['pZXMeanW', 'pZXMeanb'] })
    net.skip('pZXLogStd2', last * nOut + nOut)
    last = nOut
    for (const [i, n] of sizesOf('decoderLayerSizes').entries()) {
      net.skip(`d${i}`, last * n + n)
      last = n
    }
    const wide = decoded(net, c, nIn)
    net.skip('pXZ', last * wide + wide)
    return activate(net, y, activationOf(c, 'pzxActivationFn'))
  }
}

const elementWise: Layer = {
  takes: () => 'NC',
  width: (c) => width(c, 'nin'),
  narrow: (_, shape) => {
    const n = shape('W')?.[0]
    return n === undefined ? {} : { nin: n, nout: n }
  },
  build: (net, x, c) => {
    const n = width(c, 'nout')
    const y = net.op('Mul', [net.as(x, 'NC'), net.take('W', [n])])
    const id = net.op('Add', [y, net.take('b', [n])])
    return activate(net, { id, axes: 'NC', held: 'NC', sizes: { ...x.sizes, C: n } }, activationOf(c))
  }
}

export const denseLayers: Layers = {
  DenseLayer: dense,
  OutputLayer: dense,
  CenterLossOutputLayer: withRest((net, c) => net.skip('cL', width(c, 'nin') * width(c, 'nout'))),
  AutoEncoder: withRest((net, c) => net.skip('vb', width(c, 'nin'))),
  RnnOutputLayer: rnnOutput,
  EmbeddingLayer: embedding,
  EmbeddingSequenceLayer: embeddingSequence,
  VariationalAutoencoder: variational,
  ElementWiseMultiplicationLayer: elementWise
}
