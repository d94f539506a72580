/** A network as a graph, its parameters supplied by whoever asks: an archive that is read, or a model that is written. */
import { PareError } from '../../base/errors.ts'
import type { Graph } from '../../types.ts'
import { inputFacts, type Sizes } from './inputs.ts'
import { layerOf, layersOf } from './layers/index.ts'
import type { Fields } from './layers/types.ts'
import { type Net, netOf, type Signal, type Supply } from './net.ts'
import type { Network, Path, Step } from './network.ts'
import type { Normalizer } from './normalizer.ts'
import type { Piece } from './pieces.ts'
import { preprocessorOf } from './preprocessors.ts'
import { vertexOf } from './vertices.ts'

export interface BuildOptions {
  /** See `convLayers`. */
  readonly turned1d: boolean
  readonly sizes?: Sizes
  /** Fields of preprocessors are changed to the channels that they get, and told; absent: they must fit. */
  readonly adapt?: (path: Path, fields: Fields) => void
  /** Becomes nodes behind the first input. */
  readonly normalizer?: Normalizer
}

export interface Built {
  readonly graph: Graph
  readonly pieces: readonly Piece[]
  readonly unused: Net['unused']
  /** Length of the flat vector. */
  readonly count: number
  readonly notes: readonly string[]
}

/** Builds the graph. Throws `E_FORMAT` where the configuration contradicts itself, `E_UNSUPPORTED` for what is not known. */
export function build(network: Network, supply: Supply, o: BuildOptions): Built {
  const layers = layersOf(o.turned1d)
  const facts = inputFacts(network, layers, o.sizes)
  const net = netOf(supply)
  const signals = new Map<string, Signal>()
  for (const name of network.inputs) {
    const { axes, sizes } = facts.inputs.get(name) as { axes: string; sizes: Signal['sizes'] }
    signals.set(name, net.input(name, axes, sizes))
  }
  if (o.normalizer) {
    const [name] = network.inputs as [string]
    net.begin('normalizer')
    signals.set(name, normalized(net, signals.get(name) as Signal, o.normalizer))
  }
  const run = (step: Step, xs: readonly Signal[]): Signal => {
    const [x] = xs
    const { conf } = adapted(step, x, o.adapt)
    if (step.what === 'vertex') return vertexOf(step.conf).build(net, xs, step.conf, (name) => signals.get(name))
    if (!x) throw net.fail('it has no input')
    return step.what === 'layer'
      ? layerOf(layers, step.conf).build(net, x, step.conf)
      : preprocessorOf(conf).build(net, x, conf)
  }
  for (const step of network.steps) {
    net.begin(step.name)
    signals.set(
      step.name,
      net.end(
        run(
          step,
          step.inputs.map((name) => signals.get(name) as Signal)
        )
      )
    )
  }
  const outputs = network.outputs.map((name): readonly [string, Signal] => [
    network.kind === 'MultiLayerNetwork' ? 'output' : name,
    signals.get(name) as Signal
  ])
  if (new Set(outputs.map(([name]) => name)).size !== outputs.length)
    throw new PareError('E_FORMAT', 'two outputs of one name')
  return {
    graph: net.graph(outputs),
    pieces: net.pieces,
    unused: net.unused,
    count: net.taken(),
    notes: facts.notes
  }
}

/** A preprocessor that counts other channels than it gets, with those that it gets. */
function adapted(step: Step, x: Signal | undefined, adapt: BuildOptions['adapt']): Step {
  const fields =
    adapt && x && step.what === 'preprocessor' ? preprocessorOf(step.conf).adapt?.(step.conf, x) : undefined
  if (!fields || !adapt) return step
  adapt(step.path, fields)
  return { ...step, conf: { ...step.conf, fields: { ...step.conf.fields, ...fields } } }
}

/** Axis 1 of DL4J's order is that of features and channels; of images in the other layout it is the last. */
function normalized(net: Net, x: Signal, n: Normalizer): Signal {
  const at = x.held.indexOf('C')
  const shape = n.shift.length === 1 ? [] : [n.shift.length, ...Array(x.held.length - 1 - at).fill(1)]
  const constant = (hint: string, of: Float32Array): string => net.constant(hint, 'float32', shape, Array.from(of))
  let id = n.shift.every((v) => v === 0) ? x.id : net.op('Sub', [x.id, constant('shift', n.shift)])
  id = net.op('Mul', [
    id,
    constant(
      'scale',
      n.scale.map((s) => n.times / s)
    )
  ])
  if (n.plus !== 0) id = net.op('Add', [id, net.constant('plus', 'float32', [], [n.plus])])
  return { ...x, id }
}
