/** Every class of layers that Pare knows. */
import { activate, activationOf } from '../activations.ts'
import { type Conf, inner, patched, unknown, width } from '../conf.ts'
import { field } from '../json.ts'
import { attentionLayers } from './attention.ts'
import { imageAxes, seriesAxes, volumeAxes } from './axes.ts'
import { capsuleLayers } from './capsules.ts'
import { convLayers } from './conv.ts'
import { denseLayers } from './dense.ts'
import { localLayers } from './local.ts'
import { normLayers } from './norm.ts'
import { poolLayers } from './pool.ts'
import { lastStep, rnnLayers } from './rnn.ts'
import type { Layer, Layers } from './types.ts'

/** Where channels are, whatever the last axis is. */
const overChannels = (axesOf?: (c: Conf) => string): Layer => ({
  ...(axesOf ? { takes: axesOf } : {}),
  build: (net, x, c) => activate(net, x, activationOf(c), 'C')
})

const activation: Layer = { build: (net, x, c) => activate(net, x, activationOf(c)) }

/** Random only while training; DL4J does not apply the activation that it may have. */
const dropout: Layer = { build: (_, x) => x }

/** A vector at `n` steps. */
const repeat: Layer = {
  takes: () => 'NC',
  build: (net, x, c) => {
    const n = width(c, 'n')
    const open = net.op('Unsqueeze', [net.as(x, 'NC'), net.constant('axis', 'int64', [1], [1])])
    const id = net.op('Expand', [open, net.constant('shape', 'int64', [3], [1, n, 1])])
    return { id, axes: seriesAxes(c, 'dataFormat'), held: 'NTC', sizes: { ...x.sizes, T: n } }
  }
}

/** Every class, by name. `turned1d`: see `convLayers`. */
export function layersOf(turned1d: boolean): Layers {
  /** A layer that is exactly the one inside it, under the field `name`. */
  const around = (name: string, own: Partial<Layer> = {}): Layer => {
    const inside = (c: Conf): Conf => inner(c, name)
    return {
      takes: (c) => layerOf(table, inside(c)).takes?.(inside(c)),
      width: (c) => layerOf(table, inside(c)).width?.(inside(c)),
      size: (c, n, axis) => {
        const { size } = layerOf(table, inside(c))
        return size ? size(inside(c), n, axis) : n
      },
      narrow: (c, shape) => {
        const fields = layerOf(table, inside(c)).narrow?.(inside(c), shape)
        return fields ? { [name]: patched(field(c.fields, name) ?? null, fields) } : {}
      },
      build: (net, x, c) => layerOf(table, inside(c)).build(net, x, inside(c)),
      ...own
    }
  }
  const table: Layers = {
    ...denseLayers,
    ...convLayers(turned1d),
    ...poolLayers,
    ...normLayers,
    ...rnnLayers,
    ...attentionLayers,
    ...localLayers,
    ...capsuleLayers,
    ActivationLayer: activation,
    DropoutLayer: dropout,
    LossLayer: overChannels(),
    CnnLossLayer: overChannels((c) => imageAxes(c, 'format')),
    Cnn3DLossLayer: overChannels(volumeAxes),
    RnnLossLayer: overChannels(seriesAxes),
    RepeatVector: repeat,
    FrozenLayer: around('layer'),
    FrozenLayerWithBackprop: around('underlying'),
    LastTimeStep: around('underlying', {
      build: (net, x, c) => {
        const inside = inner(c, 'underlying')
        const made = layerOf(table, inside)
        return made.last ? made.last(net, x, inside) : lastStep(net, made.build(net, x, inside))
      }
    }),
    TimeDistributed: around('underlying', {
      takes: seriesAxes,
      build: (net, x, c) => {
        const inside = inner(c, 'underlying')
        const folded = { ...x, id: net.as(x, 'NTC'), axes: 'NC', held: 'NTC' }
        return { ...layerOf(table, inside).build(net, folded, inside), axes: x.axes }
      }
    })
  }
  return table
}

/** The record of a layer's class. Throws `E_UNSUPPORTED` that names layer and class. */
export function layerOf(layers: Layers, c: Conf): Layer {
  const found = Object.hasOwn(layers, c.kind) ? layers[c.kind] : undefined
  if (!found) throw unknown(c, 'layer')
  return found
}
