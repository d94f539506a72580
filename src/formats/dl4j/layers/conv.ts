/** Convolutions. The bias comes first in the file, and W is `[nOut, nIn, kernel]` in either layout of the values. */
import { activate, activationOf } from '../activations.ts'
import { type Conf, flag, whole, width } from '../conf.ts'
import type { Net } from '../net.ts'
import type { Turn } from '../pieces.ts'
import { imageAxes, seriesAxes, volumeAxes, wants } from './axes.ts'
import type { Fields, Layer, Layers, ShapeOf } from './types.ts'
import { sizesBehind, slid, slidingAttrs, type Window, windowOf } from './window.ts'

const planar = (c: Conf): Window => windowOf(c, 'HW')
const solid = (c: Conf): Window => windowOf(c, 'DHW')
const serial = (c: Conf): Window => windowOf(c, 'T')

const hasBias = (c: Conf): boolean => flag(c, 'hasBias', true)
const bias = (net: Net, c: Conf, n: number): readonly string[] => (hasBias(c) ? [net.take('b', [n])] : [])

const plainNarrow = (_: Conf, shape: ShapeOf): Fields => {
  const w = shape('W')
  return w ? { nin: w[1] as number, nout: w[0] as number } : {}
}
const transposedNarrow = (_: Conf, shape: ShapeOf): Fields => {
  const w = shape('W')
  return w ? { nin: w[0] as number, nout: w[1] as number } : {}
}

/** One kind of convolution: its window, its axes, and how its W stands in the file. */
function convolution(
  window: (c: Conf) => Window,
  axesOf: (c: Conf) => string,
  weight: (net: Net, c: Conf, w: Window) => string
): Layer {
  return {
    takes: axesOf,
    width: (c) => width(c, 'nin'),
    size: (c, n, axis) => slid(window(c), n, axis),
    narrow: plainNarrow,
    build: (net, x, c) => {
      wants(net, x, axesOf(c))
      const w = window(c)
      const held = `NC${w.axes}`
      const b = bias(net, c, width(c, 'nout'))
      const attrs = slidingAttrs(net, x, w)
      const id = net.op('Conv', [net.as(x, held), weight(net, c, w), ...b], attrs)
      return activate(
        net,
        { id, axes: x.axes, held, sizes: { ...sizesBehind(x, w), C: width(c, 'nout') } },
        activationOf(c)
      )
    }
  }
}

const fullWeight = (net: Net, c: Conf, w: Window): string =>
  net.take('W', [width(c, 'nout'), width(c, 'nin'), ...w.kernel])

/** Releases from M1 on compute with `[k, nIn, nOut]`, though they say `[nOut, nIn, k]`; older ones mean what they say. */
const conv1d = (turned: boolean): Layer =>
  convolution(serial, seriesAxes, (net, c, w) =>
    turned
      ? net.take('W', [...w.kernel, width(c, 'nin'), width(c, 'nout')], { perm: [2, 1, 0] })
      : fullWeight(net, c, w)
  )

/** Results of a transposed convolution along an axis. */
const spread = (w: Window, n: number, axis: string): number | undefined => {
  const i = w.axes.indexOf(axis)
  if (i < 0) return n
  const [s, p] = [w.stride[i] as number, w.padding[i] as number]
  const k = ((w.kernel[i] as number) - 1) * (w.dilation[i] as number) + 1
  const out = w.mode === 'Same' ? s * n : s * (n - 1) + k - 2 * p
  return out > 0 ? out : undefined
}

function deconvolution(
  window: (c: Conf) => Window,
  axesOf: (c: Conf) => string,
  stored: (c: Conf, w: Window) => readonly [readonly number[], Turn?]
): Layer {
  return {
    takes: axesOf,
    width: (c) => width(c, 'nin'),
    size: (c, n, axis) => spread(window(c), n, axis),
    narrow: transposedNarrow,
    build: (net, x, c) => {
      wants(net, x, axesOf(c))
      const w = window(c)
      const held = `NC${w.axes}`
      const b = bias(net, c, width(c, 'nout'))
      // Same: s·in places are kept of (in − 1)·s + k', the greater half of the rest is cut behind; k' < s adds places.
      const rest = w.kernel.map((k, i) => (k - 1) * (w.dilation[i] as number) + 1 - (w.stride[i] as number))
      const isSame = w.mode === 'Same'
      const front = isSame ? rest.map((r) => Math.floor(Math.max(0, r) / 2)) : w.padding
      const back = isSame ? rest.map((r, i) => Math.max(0, r) - (front[i] as number)) : w.padding
      const added = rest.map((r) => (isSame ? Math.max(0, -r) : 0))
      const id = net.op('ConvTranspose', [net.as(x, held), net.take('W', ...stored(c, w)), ...b], {
        kernel_shape: w.kernel,
        strides: w.stride,
        ...(w.dilation.some((d) => d !== 1) ? { dilations: w.dilation } : {}),
        ...([...front, ...back].some((p) => p !== 0) ? { pads: [...front, ...back] } : {}),
        ...(added.some((a) => a !== 0) ? { output_padding: added } : {})
      })
      const sizes = {
        ...sizesBehind(x, { ...w, mode: 'Transposed' }, (_, n, axis) => spread(w, n, axis)),
        C: width(c, 'nout')
      }
      return activate(net, { id, axes: x.axes, held, sizes }, activationOf(c))
    }
  }
}

const multiplier = (c: Conf): number => Math.max(1, whole(c, 'depthMultiplier', 1))

/** W is `[kH, kW, nIn, multiplier]`; output channel c·multiplier + m. */
const depthwise: Layer = {
  takes: imageAxes,
  width: (c) => width(c, 'nin'),
  size: (c, n, axis) => slid(planar(c), n, axis),
  narrow: (c, shape) => {
    const w = shape('W')
    return w ? { nin: (w[0] as number) / multiplier(c), nout: w[0] as number } : {}
  },
  build: (net, x, c) => {
    wants(net, x, imageAxes(c))
    const [w, nIn, m] = [planar(c), width(c, 'nin'), multiplier(c)]
    const b = bias(net, c, nIn * m)
    const weight = net.take('W', [...w.kernel, nIn, m], { perm: [2, 3, 0, 1], shape: [nIn * m, 1, ...w.kernel] })
    const id = net.op('Conv', [net.as(x, 'NCHW'), weight, ...b], { ...slidingAttrs(net, x, w), group: nIn })
    return activate(
      net,
      { id, axes: x.axes, held: 'NCHW', sizes: { ...sizesBehind(x, w), C: nIn * m } },
      activationOf(c)
    )
  }
}

/** W is `[multiplier, nIn, kH, kW]`, pW `[nOut, nIn·multiplier, 1, 1]`; the channel between them c·multiplier + m. */
const separable: Layer = {
  takes: imageAxes,
  width: (c) => width(c, 'nin'),
  size: (c, n, axis) => slid(planar(c), n, axis),
  narrow: (c, shape) => {
    const [w, p] = [shape('W'), shape('pW')]
    return w && p ? { nin: (w[0] as number) / multiplier(c), nout: p[0] as number } : {}
  },
  build: (net, x, c) => {
    wants(net, x, imageAxes(c))
    const [w, nIn, nOut, m] = [planar(c), width(c, 'nin'), width(c, 'nout'), multiplier(c)]
    const b = bias(net, c, nOut)
    const deep = net.take('W', [m, nIn, ...w.kernel], { perm: [1, 0, 2, 3], shape: [nIn * m, 1, ...w.kernel] })
    const y = net.op('Conv', [net.as(x, 'NCHW'), deep], { ...slidingAttrs(net, x, w), group: nIn })
    const id = net.op('Conv', [y, net.take('pW', [nOut, nIn * m, 1, 1]), ...b], { kernel_shape: [1, 1] })
    return activate(net, { id, axes: x.axes, held: 'NCHW', sizes: { ...sizesBehind(x, w), C: nOut } }, activationOf(c))
  }
}

/** `turned1d`: the archive's one-dimensional weights are `[k, nIn, nOut]`. */
export const convLayers = (turned1d: boolean): Layers => ({
  ConvolutionLayer: convolution(planar, imageAxes, fullWeight),
  Convolution1DLayer: conv1d(turned1d),
  Convolution3D: convolution(solid, volumeAxes, fullWeight),
  Deconvolution2D: deconvolution(planar, imageAxes, (c, w) => [[width(c, 'nin'), width(c, 'nout'), ...w.kernel]]),
  Deconvolution3D: deconvolution(solid, volumeAxes, (c, w) => [
    [...w.kernel, width(c, 'nout'), width(c, 'nin')],
    { perm: [4, 3, 0, 1, 2] }
  ]),
  DepthwiseConvolution2D: depthwise,
  SeparableConvolution2D: separable
})
