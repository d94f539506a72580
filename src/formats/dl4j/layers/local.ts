/**
 * Locally connected layers: every position has weights of its own. Patches are cut out by a convolution with ones, and multiplied
 * position by position. In two dimensions DL4J uses the weights of position p on the patch at row p mod outH, column p div outH.
 */
import { activate, activationOf } from '../activations.ts'
import { type Conf, flag, wholes, width } from '../conf.ts'
import type { Net, Signal } from '../net.ts'
import { imageAxes, wants } from './axes.ts'
import type { Layer, Layers } from './types.ts'
import { sizesBehind, slid, slidingAttrs, type Window, windowOf } from './window.ts'

const maxPatch = 65536

function local(axes: string, axesOf: (c: Conf) => string): Layer {
  const window = (c: Conf): Window => windowOf(c, axes, { kernel: 'kernel', mode: 'cm' })
  const held = `NC${axes}`
  return {
    takes: axesOf,
    width: (c) => width(c, 'nin'),
    size: (c, n, axis) => slid(window(c), n, axis),
    build: (net, given, c) => {
      wants(net, given, axesOf(c))
      const w = window(c)
      const [nIn, nOut] = [width(c, 'nin'), width(c, 'nout')]
      const inputSize = wholes(c, 'inputSize', axes.length)
      const x: Signal = {
        ...given,
        sizes: { ...given.sizes, ...Object.fromEntries(Array.from(axes, (a, i) => [a, inputSize[i] as number])) }
      }
      const sizes = { ...sizesBehind(x, w), C: nOut }
      const out = Array.from(axes, (a) => Number(sizes[a as keyof typeof sizes]))
      const features = w.kernel.reduce((n, k) => n * k, nIn)
      const positions = out.reduce((n, k) => n * k, 1)
      if (features > maxPatch || !Number.isSafeInteger(positions)) throw net.fail(`patches of ${features} numbers`)
      const patches = net.op('Conv', [net.as(x, held), ones(net, features, nIn, w.kernel)], slidingAttrs(net, x, w))
      // [N, features, rows, columns] → [columns · rows, N, features]
      const perm = axes.length === 1 ? [2, 0, 1] : [3, 2, 0, 1]
      let rows = net.op('Transpose', [patches], { perm })
      if (axes.length === 2) rows = net.op('Reshape', [rows, vector(net, [positions, -1, features])])
      const y = net.op('MatMul', [rows, net.take('W', [positions, features, nOut])])
      const biased = flag(c, 'hasBias', true) ? net.op('Add', [y, net.take('b', [nOut])]) : y
      const back = net.op('Transpose', [biased], { perm: [1, 2, 0] })
      const id = axes.length === 2 ? net.op('Reshape', [back, vector(net, [-1, nOut, ...out])]) : back
      return activate(net, { id, axes: x.axes, held, sizes }, activationOf(c, 'activation'))
    }
  }
}

const vector = (net: Net, of: readonly number[]): string => net.constant('shape', 'int64', [of.length], of)

/** One output channel for each number of a patch. */
function ones(net: Net, features: number, nIn: number, kernel: readonly number[]): string {
  const all = new Float32Array(features * features)
  for (let i = 0; i < features; i++) all[i * features + i] = 1
  return net.constant('patches', 'float32', [features, nIn, ...kernel], Array.from(all))
}

export const localLayers: Layers = {
  LocallyConnected2D: local('HW', (c) => imageAxes(c, 'format')),
  LocallyConnected1D: local('T', () => 'NCT')
}
