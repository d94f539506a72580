/** Preprocessors between layers of different kinds. Values that have the right axes already pass through, as in DL4J. */
import { type Conf, confOf, unknown, whole, wholes } from './conf.ts'
import { field } from './json.ts'
import { imageAxes, seriesAxes } from './layers/axes.ts'
import type { Net, Signal } from './net.ts'

export interface Preprocessor {
  /** Axes of its input. */
  readonly takes: (c: Conf) => string | undefined
  /** Channels or features of its input. */
  readonly width: (c: Conf) => number | undefined
  /** Places along an axis that it asks of its input. */
  readonly asks?: (c: Conf, axis: string) => number | undefined
  /** Fields for the channels or features that it gets, where they are others than it is configured for. */
  readonly adapt?: (c: Conf, x: Signal) => Readonly<Record<string, number>> | undefined
  build(net: Net, x: Signal, c: Conf): Signal
}

const planes = { H: 'inputHeight', W: 'inputWidth', C: 'numChannels', D: 'inputDepth' } as const
const size = (c: Conf, axis: keyof typeof planes): number => whole(c, planes[axis])
const image = (c: Conf): number => size(c, 'H') * size(c, 'W') * size(c, 'C')
const vector = (net: Net, of: readonly number[]): string => net.constant('shape', 'int64', [of.length], of)

const channelsOf = (c: Conf, n: unknown): { readonly numChannels: number } | undefined =>
  typeof n === 'number' && n !== size(c, 'C') ? { numChannels: n } : undefined

/** The same of features that become images. */
function channelsIn(c: Conf, x: Signal): { readonly numChannels: number } | undefined {
  const n = typeof x.sizes.C === 'number' ? x.sizes.C / (size(c, 'H') * size(c, 'W')) : undefined
  return Number.isInteger(n) ? channelsOf(c, n) : undefined
}

/** Places that must be the configured ones; sizes that were open are these from here on. */
function agreed(net: Net, x: Signal, c: Conf, axes: string): Signal['sizes'] {
  const sizes = { ...x.sizes }
  for (const a of axes) {
    const [is, wanted] = [x.sizes[a], size(c, a as keyof typeof planes)]
    if (typeof is === 'number' && is !== wanted)
      throw net.fail(`it is configured for ${planes[a as keyof typeof planes]} ${wanted}, and gets ${is}`)
    sizes[a] = wanted
  }
  return sizes
}

function flatten(net: Net, x: Signal, sizes: Signal['sizes']): Signal {
  const from = net.as(x, x.axes)
  const places = Array.from(x.axes.slice(1), (a) => sizes[a])
  net.declare(from, [sizes.N ?? '?', ...places.map((n) => n ?? '?')])
  const features = places.reduce<number>((n, d) => n * Number(d), 1)
  return {
    id: net.op('Flatten', [from], { axis: 1 }),
    axes: 'NC',
    held: 'NC',
    sizes: { N: sizes.N ?? '?', C: features }
  }
}

const wants = (net: Net, x: Signal, ...axes: readonly string[]): void => {
  if (!axes.includes(x.axes)) throw net.fail(`it takes values of the axes ${axes.join(' or ')}, and gets ${x.axes}`)
}

/** Steps folded into samples. */
const fold = (net: Net, x: Signal): Signal => ({ ...x, id: net.as(x, 'NTC'), held: 'NTC', axes: 'NC' })

/** Samples that hold steps, as series again. */
function unfold(net: Net, x: Signal, axes: string, features: number): Signal {
  if (x.held.includes('T')) return { ...x, axes }
  const target = net.op('Concat', [net.batch(), vector(net, [-1, features])], { axis: 0 })
  const id = net.op('Reshape', [net.as(x, 'NC'), target])
  return { id, axes, held: 'NTC', sizes: { N: 'N', T: '?', C: features } }
}

const cnnToFeedForward: Preprocessor = {
  takes: (c) => imageAxes(c, 'format'),
  width: (c) => size(c, 'C'),
  asks: (c, axis) => (axis === 'H' || axis === 'W' ? size(c, axis) : undefined),
  adapt: (c, x) => channelsOf(c, x.sizes.C),
  build: (net, x, c) => {
    if (x.axes === 'NC') return x
    wants(net, x, 'NCHW', 'NHWC')
    return flatten(net, x, agreed(net, x, c, 'CHW'))
  }
}

const cnn3dToFeedForward: Preprocessor = {
  takes: (c) => (field(c.fields, 'ncdhw') === false ? 'NDHWC' : 'NCDHW'),
  width: (c) => size(c, 'C'),
  asks: (c, axis) => (['D', 'H', 'W'].includes(axis) ? size(c, axis as 'D') : undefined),
  adapt: (c, x) => channelsOf(c, x.sizes.C),
  build: (net, x, c) => {
    if (x.axes === 'NC') return x
    wants(net, x, 'NCDHW', 'NDHWC')
    return flatten(net, x, agreed(net, x, c, 'CDHW'))
  }
}

const feedForwardToCnn: Preprocessor = {
  takes: () => 'NC',
  width: image,
  adapt: channelsIn,
  build: (net, x, c) => {
    if (x.axes.length === 4) return x
    wants(net, x, 'NC')
    const sizes = { N: x.sizes.N ?? '?', C: size(c, 'C'), H: size(c, 'H'), W: size(c, 'W') }
    const id = net.op('Reshape', [net.as(x, 'NC'), vector(net, [-1, sizes.C, sizes.H, sizes.W])])
    return { id, axes: 'NCHW', held: 'NCHW', sizes }
  }
}

const feedForwardToCnn3d: Preprocessor = {
  takes: () => 'NC',
  width: (c) => image(c) * size(c, 'D'),
  build: (net, x, c) => {
    if (x.axes.length === 5) return x
    wants(net, x, 'NC')
    const axes = field(c.fields, 'ncdhw') === false || field(c.fields, 'isNCDHW') === false ? 'NDHWC' : 'NCDHW'
    const sizes = { N: x.sizes.N ?? '?', C: size(c, 'C'), D: size(c, 'D'), H: size(c, 'H'), W: size(c, 'W') }
    const shape = [-1, ...Array.from(axes.slice(1), (a) => size(c, a as 'D'))]
    return { id: net.op('Reshape', [net.as(x, 'NC'), vector(net, shape)]), axes, held: axes, sizes }
  }
}

const rnnToFeedForward: Preprocessor = {
  takes: (c) => seriesAxes(c),
  width: () => undefined,
  build: (net, x) => {
    if (x.axes === 'NC') return x
    wants(net, x, 'NCT', 'NTC')
    return fold(net, x)
  }
}

const feedForwardToRnn: Preprocessor = {
  takes: () => 'NC',
  width: () => undefined,
  build: (net, x, c) => {
    if (x.axes.includes('T')) return x
    wants(net, x, 'NC')
    const features = x.sizes.C
    if (typeof features !== 'number')
      throw net.fail('the number of features in front of it is not known', 'E_UNSUPPORTED')
    return unfold(net, x, seriesAxes(c), features)
  }
}

/** Each step of a series is an image `(c, h, w)`. */
const rnnToCnn: Preprocessor = {
  takes: (c) => seriesAxes(c),
  width: image,
  adapt: channelsIn,
  build: (net, x, c) => {
    if (x.axes.length === 4) return x
    wants(net, x, 'NCT', 'NTC')
    const sizes = { N: '?', C: size(c, 'C'), H: size(c, 'H'), W: size(c, 'W') }
    const id = net.op('Reshape', [net.as(x, 'NTC'), vector(net, [-1, sizes.C, sizes.H, sizes.W])])
    return { id, axes: 'NCHW', held: 'NCHW', sizes }
  }
}

const cnnToRnn: Preprocessor = {
  takes: () => 'NCHW',
  width: (c) => size(c, 'C'),
  adapt: (c, x) => channelsOf(c, x.sizes.C),
  build: (net, x, c) => {
    if (x.axes.includes('T')) return x
    wants(net, x, 'NCHW', 'NHWC')
    const flat = flatten(net, { ...x, axes: 'NCHW' }, agreed(net, x, c, 'CHW'))
    return unfold(net, flat, seriesAxes(c), image(c))
  }
}

const composed: Preprocessor = {
  takes: (c) => preprocessorOf(parts(c)[0] ?? c).takes(parts(c)[0] ?? c),
  width: (c) => preprocessorOf(parts(c)[0] ?? c).width(parts(c)[0] ?? c),
  build: (net, x, c) => parts(c).reduce((y, p) => preprocessorOf(p).build(net, y, p), x)
}

const parts = (c: Conf): readonly Conf[] => {
  const all = field(c.fields, 'inputPreProcessors')
  return Array.isArray(all) ? all.map((p) => confOf(p, c.where, 'preprocessor')) : []
}

/** The network's own shape for every sample. */
const reshaping: Preprocessor = {
  takes: () => undefined,
  width: () => undefined,
  build: (net, x, c) => {
    const given = field(c.fields, 'targetShape')
    const shape = wholes(c, 'targetShape', Array.isArray(given) ? given.length : 0)
    const hasBatch = field(c.fields, 'hasMiniBatchDimension') === true
    return reshaped(net, x, hasBatch ? shape.slice(1) : shape)
  }
}

/** Values with a new shape behind the samples: features, series or images. */
export function reshaped(net: Net, x: Signal, shape: readonly number[]): Signal {
  const axes = ['', 'NC', 'NCT', 'NCHW', 'NCDHW'][shape.length]
  if (!axes) throw net.fail(`values of the shape [${shape}] for each sample`, 'E_UNSUPPORTED')
  const sizes = Object.fromEntries(
    Array.from(axes, (a, i) => [a, i === 0 ? (x.sizes.N ?? '?') : (shape[i - 1] as number)])
  )
  return { id: net.op('Reshape', [net.as(x, x.axes), vector(net, [-1, ...shape])]), axes, held: axes, sizes }
}

const preprocessors: Readonly<Record<string, Preprocessor>> = {
  CnnToFeedForwardPreProcessor: cnnToFeedForward,
  Cnn3DToFeedForwardPreProcessor: cnn3dToFeedForward,
  FeedForwardToCnnPreProcessor: feedForwardToCnn,
  FeedForwardToCnn3DPreProcessor: feedForwardToCnn3d,
  RnnToFeedForwardPreProcessor: rnnToFeedForward,
  FeedForwardToRnnPreProcessor: feedForwardToRnn,
  RnnToCnnPreProcessor: rnnToCnn,
  CnnToRnnPreProcessor: cnnToRnn,
  ComposableInputPreProcessor: composed,
  ReshapePreprocessor: reshaping
}

/** The record of a preprocessor's class. Throws `E_UNSUPPORTED`. */
export function preprocessorOf(c: Conf): Preprocessor {
  const found = Object.hasOwn(preprocessors, c.kind) ? preprocessors[c.kind] : undefined
  if (!found) throw unknown(c, 'preprocessor')
  return found
}
