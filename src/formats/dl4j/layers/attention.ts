/** Attention over the steps of series: softmax(Q·Kᵀ/√headSize)·V in every head, the heads side by side, times Wo. */
import { activationOf } from '../activations.ts'
import { type Conf, flag, whole, width } from '../conf.ts'
import { field } from '../json.ts'
import type { Net, Signal } from '../net.ts'
import { bodyOf, zerosFor } from './rnn.ts'
import type { Layer, Layers } from './types.ts'

/** Widths of what is attended with. */
export interface Widths {
  readonly queries: number
  readonly keys: number
  readonly values: number
}

/** `[N, T, C]` times a matrix of `heads · headSize` columns, as `[N, heads, T, headSize]`. */
function split(net: Net, x: string, weight: string, heads: number, size: number): string {
  const y = net.op('Reshape', [net.op('MatMul', [x, weight]), net.constant('heads', 'int64', [4], [0, 0, heads, size])])
  return net.op('Transpose', [y], { perm: [0, 2, 1, 3] })
}

/** Softmax of the products of `[…, queries, n]` and `[…, keys, n]`, times `[…, keys, n]`. */
function attended(net: Net, q: string, k: string, v: string, n: number): string {
  const turned = net.op('Transpose', [k], { perm: [0, 1, 3, 2] })
  const scores = net.op('Mul', [
    net.op('MatMul', [q, turned]),
    net.constant('scale', 'float32', [], [1 / Math.sqrt(n)])
  ])
  return net.op('MatMul', [net.op('Softmax', [scores], { axis: -1 }), v])
}

/** Attention of one series to others. Without a projection it is one head of all features. */
export function attention(
  net: Net,
  c: Conf,
  of: { readonly queries: Signal; readonly keys: Signal; readonly values: Signal },
  widths: Widths
): Signal {
  const [q, k, v] = [net.as(of.queries, 'NTC'), net.as(of.keys, 'NTC'), net.as(of.values, 'NTC')]
  if (!flag(c, 'projectInput', true)) {
    const one = (id: string): string => net.op('Unsqueeze', [id, net.constant('axis', 'int64', [1], [1])])
    const y = attended(net, one(q), one(k), one(v), widths.queries)
    const id = net.op('Squeeze', [y, net.constant('axis', 'int64', [1], [1])])
    return { ...of.queries, id, held: 'NTC', sizes: { ...of.queries.sizes, C: widths.values } }
  }
  const heads = Math.max(1, whole(c, 'nheads', 1))
  const size = headSize(c, heads)
  const nOut = width(c, 'nout')
  const take = (key: string, n: number): string =>
    net.take(key, [heads, size, n], { perm: [2, 0, 1], shape: [n, heads * size] })
  const weights = [take('Wq', widths.queries), take('Wk', widths.keys), take('Wv', widths.values)] as const
  const out = net.take('Wo', [heads * size, nOut])
  const y = attended(
    net,
    split(net, q, weights[0], heads, size),
    split(net, k, weights[1], heads, size),
    split(net, v, weights[2], heads, size),
    size
  )
  const joined = net.op('Reshape', [
    net.op('Transpose', [y], { perm: [0, 2, 1, 3] }),
    net.constant('joined', 'int64', [3], [0, 0, heads * size])
  ])
  return { ...of.queries, id: net.op('MatMul', [joined, out]), held: 'NTC', sizes: { ...of.queries.sizes, C: nOut } }
}

const headSize = (c: Conf, heads: number): number =>
  field(c.fields, 'headSize') ? width(c, 'headSize') : Math.floor(width(c, 'nout') / heads)

const selfAttention: Layer = {
  takes: () => 'NCT',
  width: (c) => width(c, 'nin'),
  build: (net, x, c) => {
    const n = width(c, 'nin')
    return attention(net, c, { queries: x, keys: x, values: x }, { queries: n, keys: n, values: n })
  }
}

/** h(t) = act(x(t)·W + b + attention(h(t − 1) to x)·RW), without the term of attention at the first step. */
const recurrentAttention: Layer = {
  takes: () => 'NCT',
  width: (c) => width(c, 'nin'),
  build: (net, x, c) => {
    const [nIn, n, heads] = [width(c, 'nin'), width(c, 'nout'), Math.max(1, whole(c, 'nheads', 1))]
    const isProjected = flag(c, 'projectInput', true)
    const size = isProjected ? headSize(c, heads) : nIn
    if (!isProjected && n !== nIn) throw net.fail(`attention without a projection from ${nIn} to ${n} features`)
    const series = net.as(x, 'NTC')
    const w = net.take('W', [nIn, n])
    const rw = net.take('RW', [n, n])
    const take = (key: string, k: number): string =>
      net.take(key, [heads, size, k], { perm: [2, 0, 1], shape: [k, heads * size] })
    const [wq, wk, wv] = isProjected ? [take('Wq', n), take('Wk', nIn), take('Wv', nIn)] : []
    const wo = isProjected ? net.take('Wo', [heads * size, n]) : undefined
    const bias = flag(c, 'hasBias', true) ? net.take('b', [n]) : undefined
    const vector = (hint: string, of: readonly number[]): string => net.constant(hint, 'int64', [of.length], of)
    const lone = (): string => net.op('Unsqueeze', [series, vector('axis', [1])])
    const keys = net.op('Transpose', [wk ? split(net, series, wk, heads, size) : lone()], { perm: [0, 1, 3, 2] })
    const values = wv ? split(net, series, wv, heads, size) : lone()
    const product = net.op('MatMul', [net.as(x, 'TNC'), w])
    const own = bias ? net.op('Add', [product, bias]) : product
    const zeros = zerosFor(net, net.as(x, 'TNC'), [], n)
    const none = net.constant('none', 'float32', [], [0])
    const act = activationOf(c, 'activation')
    if (!['tanh', 'sigmoid', 'relu', 'identity', 'softsign'].includes(act.kind))
      throw net.fail(`the activation ${act.kind} inside a recurrent layer`, 'E_UNSUPPORTED')
    const at = `${own}/step`
    const id = (k: string): string => `${at}.${k}`
    const heads4 = vector('heads', [0, heads, 1, size])
    const flat = vector('flat', [0, heads * size])
    const scale = net.constant('scale', 'float32', [], [1 / Math.sqrt(size)])
    const one = net.constant('one', 'float32', [], [1])
    const body = bodyOf(
      [id('h'), id('f'), id('x')],
      [
        ...(wq ? ([['MatMul', [id('h'), wq], [id('q')]]] as const) : []),
        ['Reshape', [wq ? id('q') : id('h'), heads4], [id('q4')]],
        ['MatMul', [id('q4'), keys], [id('k')]],
        ['Mul', [id('k'), scale], [id('s')]],
        ['Softmax', [id('s')], [id('p')], { axis: -1 }],
        ['MatMul', [id('p'), values], [id('a4')]],
        ['Reshape', [id('a4'), flat], [id('a')]],
        ...(wo ? ([['MatMul', [id('a'), wo], [id('o')]]] as const) : []),
        ['MatMul', [wo ? id('o') : id('a'), rw], [id('r')]],
        ['Mul', [id('r'), id('f')], [id('rf')]],
        ['Add', [id('x'), id('rf')], [id('z')]],
        [
          act.kind === 'identity' ? 'Identity' : (act.kind[0] as string).toUpperCase() + act.kind.slice(1),
          [id('z')],
          [id('y')]
        ],
        ['Identity', [id('y')], [id('y1')]],
        ['Max', [id('f'), one], [id('f1')]]
      ],
      [id('y'), id('f1'), id('y1')]
    )
    const last = net.op('Scan', [zeros, none, own], { body: { kind: 'graph', value: body }, num_scan_inputs: 1 }, 3)
    const y = net.outputsOf(last).at(-1) as string
    return { id: y, axes: x.axes, held: 'TNC', sizes: { ...x.sizes, C: n } }
  }
}

export const attentionLayers: Layers = {
  SelfAttentionLayer: selfAttention,
  RecurrentAttentionLayer: recurrentAttention
}
