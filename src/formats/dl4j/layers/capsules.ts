/**
 * Capsule networks (Sabour et al. 2017): vectors whose length says how likely a thing is there. A capsule's axes are K capsules
 * and C numbers in each.
 */
import { type Conf, flag, num, whole, width } from '../conf.ts'
import type { Net, Signal } from '../net.ts'
import { wants } from './axes.ts'
import type { Layer, Layers } from './types.ts'
import { slid, slidingAttrs, windowOf } from './window.ts'

const maxRoutings = 64
const vector = (net: Net, hint: string, of: readonly number[]): string => net.constant(hint, 'int64', [of.length], of)

/** x·‖x‖² / (1 + ‖x‖²) / √(‖x‖² + 1e-5) over the last axis. */
function squash(net: Net, x: string): string {
  const square = net.op('ReduceSumSquare', [x, vector(net, 'axes', [-1])], { keepdims: 1 })
  const plus = (term: number): string => net.op('Add', [square, net.constant('term', 'float32', [], [term])])
  const share = net.op('Div', [net.op('Div', [square, plus(1)]), net.op('Sqrt', [plus(1e-5)])])
  return net.op('Mul', [x, share])
}

const capsules = (id: string, x: Signal, c: Conf): Signal => ({
  id,
  axes: 'NKC',
  held: 'NKC',
  sizes: { N: x.sizes.N ?? '?', K: width(c, 'capsules'), C: width(c, 'capsuleDimensions') }
})

/** A convolution with W `[kH, kW, nIn, nOut]`, whose results are dealt out to capsules in their order. */
const primary: Layer = {
  takes: () => 'NCHW',
  width: (c) => width(c, 'inputChannels'),
  size: (c, n, axis) => (slid(windowOf(c, 'HW'), n, axis) === undefined ? undefined : null),
  build: (net, x, c) => {
    wants(net, x, 'NCHW')
    const w = windowOf(c, 'HW')
    const n = width(c, 'channels') * width(c, 'capsuleDimensions')
    const weight = net.take('weight', [...w.kernel, width(c, 'inputChannels'), n], { perm: [3, 2, 0, 1] })
    const bias = flag(c, 'hasBias', true) ? [net.take('bias', [n])] : []
    let y = net.op('Conv', [net.as(x, 'NCHW'), weight, ...bias], slidingAttrs(net, x, w))
    const leak = num(c, 'leak', 0)
    if (flag(c, 'useRelu', false))
      y = leak === 0 ? net.op('Relu', [y]) : net.op('LeakyRelu', [y], { alpha: { kind: 'float', value: leak } })
    const dealt = net.op('Reshape', [
      y,
      vector(net, 'shape', [-1, width(c, 'capsules'), width(c, 'capsuleDimensions')])
    ])
    return capsules(squash(net, dealt), x, c)
  }
}

/** Routing by agreement: capsules in front vote, and votes count more the more they agree with the outcome. */
const routed: Layer = {
  takes: () => 'NKC',
  build: (net, x, c) => {
    if (x.axes !== 'NKC') throw net.fail(`it takes capsules, and gets values of the axes ${x.axes}`)
    const [from, size] = [width(c, 'inputCapsules'), width(c, 'inputCapsuleDimensions')]
    const [to, n] = [width(c, 'capsules'), width(c, 'capsuleDimensions')]
    const routings = whole(c, 'routings', 3)
    if (routings < 1 || routings > maxRoutings)
      throw net.fail(`${routings} rounds of routing; 1 to ${maxRoutings} are read`)
    const weight = net.take('weight', [from, to * n, size], { perm: [0, 2, 1] })
    const bias = flag(c, 'hasBias', false) ? net.take('bias', [to, n]) : undefined
    const perCapsule = net.op('Transpose', [net.as(x, 'NKC')], { perm: [1, 0, 2] })
    const product = net.op('Transpose', [net.op('MatMul', [perCapsule, weight])], { perm: [1, 0, 2] })
    const votes = net.op('Reshape', [product, vector(net, 'votes', [-1, from, to, n])])
    const over = (id: string, axis: number, keepdims: number): string =>
      net.op('ReduceSum', [id, vector(net, 'axes', [axis])], { keepdims })
    // Before the first round all capsules are as likely.
    let weighted = net.op('Mul', [votes, net.constant('even', 'float32', [], [1 / to])])
    let logits: string | undefined
    for (let i = 0; ; i++) {
      const sum = over(weighted, 1, 0)
      const v = squash(net, bias ? net.op('Add', [sum, bias]) : sum)
      if (i === routings - 1) return capsules(v, x, c)
      const agreement = over(net.op('Mul', [votes, net.op('Unsqueeze', [v, vector(net, 'axis', [1])])]), 3, 1)
      logits = logits === undefined ? agreement : net.op('Add', [logits, agreement])
      weighted = net.op('Mul', [net.op('Softmax', [logits], { axis: 2 }), votes])
    }
  }
}

const strength: Layer = {
  takes: () => 'NKC',
  build: (net, x) => {
    if (x.axes !== 'NKC') throw net.fail(`it takes capsules, and gets values of the axes ${x.axes}`)
    const id = net.op('ReduceL2', [x.id, vector(net, 'axes', [2])], { keepdims: 0 })
    return { id, axes: 'NC', held: 'NC', sizes: { N: x.sizes.N ?? '?', C: x.sizes.K ?? '?' } }
  }
}

export const capsuleLayers: Layers = {
  PrimaryCapsules: primary,
  CapsuleLayer: routed,
  CapsuleStrengthLayer: strength
}
