/** Pools, and layers that pad, crop or enlarge. */
import { type Conf, flag, text, whole, wholes } from '../conf.ts'
import { field } from '../json.ts'
import type { Net, Signal } from '../net.ts'
import { imageAxes, seriesAxes, volumeAxes, wants } from './axes.ts'
import type { Layer, Layers } from './types.ts'
import { sizesBehind, slid, slidingAttrs, type Window, windowOf } from './window.ts'

/** The divisor of averages counts padding by default: releases up to beta3 do not say it. */
function pool(window: (c: Conf) => Window, axesOf: (c: Conf) => string): Layer {
  return {
    takes: axesOf,
    size: (c, n, axis) => slid(window(c), n, axis),
    build: (net, x, c) => {
      wants(net, x, axesOf(c))
      const w = window(c)
      const held = `NC${w.axes}`
      const attrs = slidingAttrs(net, x, w)
      const from = net.as(x, held)
      const kind = text(c, 'poolingType', 'MAX')
      const made = (): string => {
        switch (kind) {
          case 'MAX':
            return net.op('MaxPool', [from], attrs)
          case 'AVG':
            return net.op('AveragePool', [from], {
              ...attrs,
              count_include_pad: flag(c, 'avgPoolIncludePadInDivisor', true) ? 1 : 0
            })
          case 'PNORM':
            return net.op('LpPool', [from], { ...attrs, p: whole(c, 'pnorm') })
          case 'SUM': {
            const mean = net.op('AveragePool', [from], { ...attrs, count_include_pad: 1 })
            const count = w.kernel.reduce((n, k) => n * k, 1)
            return net.op('Mul', [mean, net.constant('count', 'float32', [], [count])])
          }
        }
        throw net.fail(`the pooling type ${kind} is not known`, 'E_UNSUPPORTED')
      }
      return { id: made(), axes: x.axes, held, sizes: sizesBehind(x, w) }
    }
  }
}

/** Over the axes that it pools; by default all but samples and channels, and of series the last one, whatever it holds. */
const globalPool: Layer = {
  size: (c) => (flag(c, 'collapseDimensions', true) ? null : 1),
  build: (net, x, c) => {
    const given = field(c.fields, 'poolingDimensions')
    const places = Array.isArray(given) ? wholes(c, 'poolingDimensions', given.length) : undefined
    const over = places ? places.map((i) => x.axes[i] ?? '') : defaultAxes(x)
    if (over.length === 0 || over.some((a) => a === '' || a === 'N'))
      throw net.fail(`it pools series, images and volumes, and gets values of the axes ${x.axes}`)
    const kind = text(c, 'poolingType', 'MAX')
    const keeps = !flag(c, 'collapseDimensions', true)
    const whole2d =
      ['AVG', 'MAX'].includes(kind) &&
      x.axes.includes('H') &&
      over.includes('H') &&
      over.includes('W') &&
      over.length === x.axes.length - 2
    if (whole2d) {
      const held = x.axes.includes('D') ? 'NCDHW' : 'NCHW'
      const id = net.op(kind === 'AVG' ? 'GlobalAveragePool' : 'GlobalMaxPool', [net.as(x, held)])
      const sizes = { ...x.sizes, D: 1, H: 1, W: 1 }
      if (keeps) return { id, axes: x.axes, held, sizes }
      return { id: net.op('Flatten', [id], { axis: 1 }), axes: 'NC', held: 'NC', sizes }
    }
    const from = x.held.length === x.axes.length ? x : { ...x, id: net.as(x, x.axes), held: x.axes }
    const id = reduced(net, from, kind, over, keeps ? 1 : 0, c)
    const ones = Object.fromEntries(over.map((a) => [a, 1]))
    if (keeps) return { ...from, id, sizes: { ...x.sizes, ...ones } }
    const left = Array.from(from.held)
      .filter((a) => !over.includes(a))
      .join('')
    // A series of which the features were pooled has its steps where features are.
    const size = x.sizes[left[1] ?? 'C'] ?? '?'
    return { id, axes: 'NC', held: left.replace(/[^N]/, 'C'), sizes: { N: x.sizes.N ?? '?', C: size } }
  }
}

const defaultAxes = (x: Signal): readonly string[] =>
  x.axes.includes('H') ? Array.from(x.axes).filter((a) => a !== 'N' && a !== 'C') : Array.from(x.axes.slice(2))

function reduced(net: Net, x: Signal, kind: string, over: readonly string[], keepdims: number, c: Conf): string {
  const axes = net.constant(
    'axes',
    'int64',
    [over.length],
    over.map((a) => x.held.indexOf(a))
  )
  const reduce = (op: string, id = x.id): string => net.op(op, [id, axes], { keepdims })
  switch (kind) {
    case 'AVG':
      return reduce('ReduceMean')
    case 'MAX':
      return reduce('ReduceMax')
    case 'SUM':
      return reduce('ReduceSum')
    case 'PNORM': {
      const p = whole(c, 'pnorm', 2)
      if (p === 2) return reduce('ReduceL2')
      if (p === 1) return reduce('ReduceL1')
      const power = net.op('Pow', [net.op('Abs', [x.id]), net.constant('p', 'float32', [], [p])])
      return net.op('Pow', [reduce('ReduceSum', power), net.constant('root', 'float32', [], [1 / p])])
    }
  }
  throw net.fail(`the pooling type ${kind} is not known`, 'E_UNSUPPORTED')
}

/** Numbers of places in front of and behind each axis; `[top, bottom, left, right]` and so on in the file. */
function ends(c: Conf, name: string, axes: string): readonly (readonly [number, number])[] {
  const all = wholes(c, name, 2 * axes.length)
  return Array.from(axes, (_, i) => [all[2 * i] as number, all[2 * i + 1] as number])
}

function shifted(axes: string, axesOf: (c: Conf) => string, name: string, sign: 1 | -1): Layer {
  return {
    takes: axesOf,
    size: (c, n, axis) => {
      const i = axes.indexOf(axis)
      if (i < 0) return n
      const [front, back] = ends(c, name, axes)[i] as readonly [number, number]
      const out = n + sign * (front + back)
      return out > 0 ? out : undefined
    },
    build(net, x, c) {
      wants(net, x, axesOf(c))
      const held = `NC${axes}`
      const e = ends(c, name, axes)
      const from = net.as(x, held)
      const vector = (hint: string, of: readonly number[]): string => net.constant(hint, 'int64', [of.length], of)
      const id =
        sign === 1
          ? net.op('Pad', [from, vector('pads', [0, 0, ...e.map(([a]) => a), 0, 0, ...e.map(([, b]) => b)])])
          : net.op('Slice', [
              from,
              vector(
                'starts',
                e.map(([a]) => a)
              ),
              vector(
                'ends',
                e.map(([, b]) => (b === 0 ? 2 ** 31 - 1 : -b))
              ),
              vector(
                'axes',
                e.map((_, i) => i + 2)
              )
            ])
      const sizes = { ...x.sizes }
      for (const a of axes) {
        const n = x.sizes[a]
        sizes[a] = typeof n === 'number' ? (this.size?.(c, n, a) ?? '?') : '?'
      }
      return { id, axes: x.axes, held, sizes }
    }
  }
}

function upsampling(axes: string, axesOf: (c: Conf) => string): Layer {
  return {
    takes: axesOf,
    size: (c, n, axis) => {
      const i = axes.indexOf(axis)
      return i < 0 ? n : n * (wholes(c, 'size', axes.length)[i] as number)
    },
    build(net, x, c) {
      wants(net, x, axesOf(c))
      const held = `NC${axes}`
      const by = wholes(c, 'size', axes.length)
      const scales = net.constant('scales', 'float32', [by.length + 2], [1, 1, ...by])
      const id = net.op('Resize', [net.as(x, held), null, scales], {
        mode: 'nearest',
        coordinate_transformation_mode: 'asymmetric',
        nearest_mode: 'floor'
      })
      const sizes = { ...x.sizes }
      for (const a of axes) {
        const n = x.sizes[a]
        sizes[a] = typeof n === 'number' ? (this.size?.(c, n, a) ?? '?') : '?'
      }
      return { id, axes: x.axes, held, sizes }
    }
  }
}

const spaceToDepth: Layer = {
  takes: (c) => imageAxes(c, 'dataFormat'),
  channels: (c) => whole(c, 'blockSize') ** 2,
  size: (c, n) => (n % whole(c, 'blockSize') === 0 ? n / whole(c, 'blockSize') : undefined),
  build: (net, x, c) => {
    wants(net, x, imageAxes(c, 'dataFormat'))
    const b = whole(c, 'blockSize')
    const by = (n: Signal['sizes'][string] | undefined, f: number): number | string =>
      typeof n === 'number' ? n * f : '?'
    return {
      id: net.op('SpaceToDepth', [net.as(x, 'NCHW')], { blocksize: b }),
      axes: x.axes,
      held: 'NCHW',
      sizes: { ...x.sizes, C: by(x.sizes.C, b * b), H: by(x.sizes.H, 1 / b), W: by(x.sizes.W, 1 / b) }
    }
  }
}

/** Every place of a block becomes samples of its own: `[block row, block column, sample]` on the first axis. */
const spaceToBatch: Layer = {
  takes: (c) => imageAxes(c, 'format'),
  build: (net, x, c) => {
    const [rows, columns] = wholes(c, 'blocks', 2) as [number, number]
    const padding = field(c.fields, 'padding')
    const [top, bottom, left, right] = (Array.isArray(padding) ? padding.flat() : [0, 0, 0, 0]) as number[]
    let from = net.as(x, 'NCHW')
    if ([top, bottom, left, right].some((p) => p !== 0))
      from = net.op('Pad', [
        from,
        net.constant('pads', 'int64', [8], [0, 0, top ?? 0, left ?? 0, 0, 0, bottom ?? 0, right ?? 0])
      ])
    const vector = (hint: string, of: readonly number[]): string => net.constant(hint, 'int64', [of.length], of)
    const [last, axes, steps] = [
      vector('ends', [2 ** 31 - 1, 2 ** 31 - 1]),
      vector('axes', [2, 3]),
      vector('steps', [rows, columns])
    ]
    const parts = Array.from({ length: rows * columns }, (_, i) =>
      net.op('Slice', [from, vector('starts', [Math.floor(i / columns), i % columns]), last, axes, steps])
    )
    return {
      id: net.op('Concat', parts, { axis: 0 }),
      axes: x.axes,
      held: 'NCHW',
      sizes: { ...x.sizes, N: '?', H: '?', W: '?' }
    }
  }
}

const dataFormat = (c: Conf): string => imageAxes(c, 'dataFormat')
const series = (c: Conf): string => seriesAxes(c)

export const poolLayers: Layers = {
  SubsamplingLayer: pool((c) => windowOf(c, 'HW'), imageAxes),
  Subsampling1DLayer: pool((c) => windowOf(c, 'T'), series),
  Subsampling3DLayer: pool((c) => windowOf(c, 'DHW'), volumeAxes),
  GlobalPoolingLayer: globalPool,
  ZeroPaddingLayer: shifted('HW', dataFormat, 'padding', 1),
  ZeroPadding1DLayer: shifted('T', () => 'NCT', 'padding', 1),
  ZeroPadding3DLayer: shifted('DHW', () => 'NCDHW', 'padding', 1),
  Cropping2D: shifted('HW', dataFormat, 'cropping', -1),
  Cropping1D: shifted('T', () => 'NCT', 'cropping', -1),
  Cropping3D: shifted('DHW', () => 'NCDHW', 'cropping', -1),
  Upsampling2D: upsampling('HW', (c) => imageAxes(c, 'format')),
  Upsampling1D: upsampling('T', () => 'NCT'),
  Upsampling3D: upsampling('DHW', volumeAxes),
  SpaceToDepthLayer: spaceToDepth,
  SpaceToBatchLayer: spaceToBatch
}
