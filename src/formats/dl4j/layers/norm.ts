/** Normalizations, and layers with a number for each channel or element. */
import { float } from '../../../ir/attrs.ts'
import { elementCount } from '../../../ir/tensor.ts'
import { type Conf, flag, num, text, wholes, width } from '../conf.ts'
import { field } from '../json.ts'
import type { Net } from '../net.ts'
import { imageAxes } from './axes.ts'
import type { Layer, Layers } from './types.ts'

/** Where channels are in front of the places. */
const channelsFirst: Readonly<Record<string, string>> = { NHWC: 'NCHW', NDHWC: 'NCDHW', NTC: 'NCT' }

/** Channels on axis 1, and on axis 3 where the layer says NHWC; the activation of its configuration is not applied. */
const batchNormalization: Layer = {
  width: (c) => width(c, 'nin'),
  narrow: (_, shape) => {
    const n = shape('mean')?.[0]
    return n === undefined ? {} : { nin: n, nout: n }
  },
  build: (net, x, c) => {
    const axis = x.axes.length === 4 && text(c, 'cnn2DFormat', 'NCHW') === 'NHWC' ? 3 : 1
    if (x.axes[axis] !== 'C')
      throw net.fail(
        `it normalizes axis ${axis} of values with the axes ${x.axes}, which is not that of channels`,
        'E_UNSUPPORTED'
      )
    const n = width(c, 'nout')
    const [gamma, beta] = flag(c, 'lockGammaBeta', false)
      ? locked(net, c, n)
      : [net.take('gamma', [n]), net.take('beta', [n])]
    const mean = net.take('mean', [n])
    const variance = hasVariance(c) ? net.take('var', [n]) : net.take('log10stdev', [n], { of: 'log10stdev' })
    const held = x.axes === 'NC' ? 'NC' : (channelsFirst[x.axes] ?? x.axes)
    const id = net.op('BatchNormalization', [net.as(x, held), gamma, beta, mean, variance], {
      epsilon: float(num(c, 'eps', 1e-5))
    })
    return { ...x, id, held }
  }
}

/** The fixed gamma and beta, of which DL4J uses none unless neither is neutral. */
function locked(net: Net, c: Conf, n: number): readonly [string, string] {
  const [gamma, beta] = [num(c, 'gamma', 1), num(c, 'beta', 0)]
  const isUsed = gamma !== 1 && beta !== 0
  const filled = (hint: string, value: number): string => net.constant(hint, 'float32', [n], Array(n).fill(value))
  return [filled('gamma', isUsed ? gamma : 1), filled('beta', isUsed ? beta : 0)]
}

/** What counts on loading is the list of parameters; where it is not there, the flag. */
const hasVariance = (c: Conf): boolean => c.variables?.includes('var') ?? !flag(c, 'useLogStd', false)

/** x/(k + α·Σx²)^β over n channels, where ONNX divides α by n; an even n counts as n + 1. */
const responseNormalization: Layer = {
  takes: (c) => imageAxes(c, 'dataFormat'),
  build: (net, x, c) => {
    const size = 2 * Math.floor(num(c, 'n', 5) / 2) + 1
    const id = net.op('LRN', [net.as(x, 'NCHW')], {
      size,
      alpha: float(num(c, 'alpha', 1e-4) * size),
      beta: float(num(c, 'beta', 0.75)),
      bias: float(num(c, 'k', 2))
    })
    return { ...x, id, held: 'NCHW' }
  }
}

/** A slope for each element, or for each channel; column-major over the axes behind the samples. */
const prelu: Layer = {
  narrow: (c, shape) => {
    const w = shape('W')
    return w && Array.isArray(field(c.fields, 'inputShape')) ? { inputShape: [...w] } : {}
  },
  build: (net, x, c) => {
    const given = field(c.fields, 'inputShape')
    const shape = wholes(c, 'inputShape', Array.isArray(given) ? given.length : 0)
    if (shape.length !== x.axes.length - 1 || elementCount(shape) === 0)
      throw net.fail(`slopes of shape [${shape}] for values of the axes ${x.axes}`)
    const slope = net.take('W', [...shape].reverse(), { perm: shape.map((_, i) => shape.length - 1 - i) })
    return { ...x, id: net.op('PRelu', [net.as(x, x.axes), slope]), held: x.axes }
  }
}

export const normLayers: Layers = {
  BatchNormalization: batchNormalization,
  LocalResponseNormalization: responseNormalization,
  PReLULayer: prelu
}
