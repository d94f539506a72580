/**
 * Small networks of few kinds of kernels each, at sizes that networks for small devices have. They are timed to fit a cost
 * model; the weights do not matter.
 */
import { parse } from '../ir/text.ts'
import type { Model } from '../types.ts'

/** A network to be timed. */
export interface KernelNetwork {
  readonly name: string
  readonly model: Model
}

/** Multiply-adds that a run should take about, so that its time is well above that of a run of nothing. */
const wanted = 6e6
const longest = 10

const copies = (macs: number): number => Math.max(1, Math.min(longest, Math.round(wanted / macs)))

/** A network under construction: each step reads the value of the one before. Sizes are without the batch. */
interface Net {
  /** A convolution with bias, padded to keep sizes at stride 1. */
  conv(out: number, kernel: number | readonly [number, number], stride?: number, group?: number): Net
  op(name: string): Net
  /** Of this and an earlier value. */
  with(name: string, other: string): Net
  dense(out: number): Net
  product(out: number): Net
  to(name: string, shape: readonly number[], attributes?: string): Net
  /** The value so far, and its sizes. */
  readonly at: string
  readonly sizes: readonly number[]
  model(): Model
}

const net = (...sizes: readonly number[]): Net => step([`input x: f32[N,${sizes.join(',')}]`], 'x', sizes)

/** `lines` of the text form, the last of which makes `at`. */
function step(lines: readonly string[], at: string, sizes: readonly number[]): Net {
  const k = lines.length
  const put = (op: string, shape: readonly number[], ...rest: readonly string[]): Net => {
    const all = [at, ...rest.filter((r) => r !== '')].join(', ')
    return step([...lines, `v${k}: f32[N,${shape.join(',')}] = ${op}(${all})`], `v${k}`, shape)
  }
  return {
    at,
    sizes,
    conv: (out, kernel, stride = 1, group = 1) => {
      const [c = 1, h = 1, w = 1] = sizes
      const [kh, kw] = typeof kernel === 'number' ? [kernel, kernel] : kernel
      const size = (n: number): number => Math.floor((n - 1) / stride) + 1
      const pads = [(kh - 1) >> 1, (kw - 1) >> 1, kh >> 1, kw >> 1]
      const weights = `W${k}: f32[${out},${c / group},${kh},${kw}], B${k}: f32[${out}]`
      const attributes = `pads=[${pads}], strides=[${stride}, ${stride}], group=${group}`
      return put('Conv', [out, size(h), size(w)], weights, attributes)
    },
    op: (name) => put(name, sizes),
    with: (name, other) => put(name, sizes, other),
    dense: (out) => put('Gemm', [out], `W${k}: f32[${sizes[0]},${out}], B${k}: f32[${out}]`),
    product: (out) => put('MatMul', [sizes[0] as number, out], `W${k}: f32[${sizes[1]},${out}]`),
    to: (name, shape, attributes = '') => put(name, shape, attributes),
    model: () => parse([...lines, `output ${at}`].join('\n'))
  }
}

/** The model is made when it is asked for: drawing the weights of all takes seconds, and most commands time none. */
function named(name: string, made: Net): KernelNetwork {
  let model: Model | undefined
  return {
    name,
    get model() {
      model ??= made.model()
      return model
    }
  }
}
const repeat = (from: Net, times: number, next: (n: Net) => Net): Net => {
  let made = from
  for (let i = 0; i < times; i++) made = next(made)
  return made
}

type Sizes = readonly (readonly number[])[]
const at = (
  sizes: Sizes
): readonly { readonly c: number; readonly d: number; readonly h: number; readonly w: number }[] =>
  sizes.map(([c = 1, d = 1, h = 1, w = h]) => ({ c, d, h, w }))

const dense3 = at([
  ...[
    [8, 8, 32],
    [12, 12, 32],
    [16, 16, 32],
    [16, 16, 16],
    [20, 20, 16],
    [24, 24, 16],
    [32, 32, 16],
    [32, 32, 8]
  ],
  ...[
    [48, 48, 8],
    [64, 64, 8],
    [64, 64, 16],
    [128, 128, 8],
    [256, 256, 4],
    [30, 30, 16]
  ]
]).map(({ c, h, w }) =>
  named(
    `Conv 3×3, ${c} channels, ${h}×${w}`,
    repeat(net(c, h, w), copies(9 * c * c * h * w), (n) => n.conv(c, 3).op('Relu'))
  )
)

const dense1 = at([
  ...[
    [8, 16, 56],
    [8, 16, 112],
    [16, 32, 56],
    [32, 64, 28],
    [64, 128, 14],
    [64, 64, 25, 5],
    [128, 256, 7],
    [128, 128, 14]
  ],
  ...[
    [256, 256, 7],
    [20, 40, 28],
    [30, 60, 14],
    [512, 512, 4],
    [256, 1024, 1]
  ]
]).map(({ c, d, h, w }) =>
  named(
    `Conv 1×1, ${c} and ${d} channels, ${h}×${w}`,
    repeat(net(c, h, w), copies(2 * c * d * h * w), (n) => n.conv(d, 1).op('Relu').conv(c, 1).op('Relu'))
  )
)

const depthwise = at([
  ...[
    [8, 0, 112],
    [16, 0, 56],
    [32, 0, 56],
    [64, 0, 28],
    [128, 0, 14],
    [256, 0, 7],
    [64, 0, 25, 5],
    [20, 0, 28],
    [32, 0, 16]
  ]
]).map(({ c, h, w }) =>
  named(
    `Conv depthwise, ${c} channels, ${h}×${w}`,
    repeat(net(c, h, w), copies(36 * c * h * w), (n) => n.conv(c, 3, 1, c).op('Relu'))
  )
)

const separable = at([
  ...[
    [8, 16, 112],
    [16, 32, 56],
    [32, 32, 56],
    [64, 64, 28],
    [64, 64, 25, 5],
    [128, 128, 14],
    [256, 256, 7]
  ]
]).map(({ c, d, h, w }) =>
  named(
    `Conv depthwise and 1×1, ${c} and ${d} channels, ${h}×${w}`,
    repeat(net(c, h, w), copies(c * d * h * w * 2), (n) =>
      n.conv(c, 3, 1, c).op('Relu').conv(d, 1).op('Relu').conv(d, 3, 1, d).op('Relu').conv(c, 1).op('Relu')
    )
  )
)

const strided = at([
  [16, 32, 32],
  [32, 64, 16],
  [16, 32, 112],
  [64, 128, 28],
  [128, 256, 14]
]).flatMap(({ c, d, h, w }) => [
  named(
    `Conv depthwise by 2 and 1×1, ${c} channels, ${h}×${w}`,
    net(c, h, w).conv(c, 3, 2, c).op('Relu').conv(d, 1).op('Relu')
  ),
  named(`Conv 3×3 by 2, ${c} channels, ${h}×${w}`, net(c, h, w).conv(d, 3, 2).op('Relu').conv(d, 3).op('Relu'))
])

const residual = at([
  [16, 16, 32],
  [32, 32, 16],
  [64, 64, 8],
  [24, 24, 16]
]).map(({ c, h, w }) =>
  named(
    `residual blocks, ${c} channels, ${h}×${w}`,
    repeat(net(c, h, w).conv(c, 3).op('Relu'), 3, (n) => {
      const before = n.at
      return n.conv(c, 3).op('Relu').conv(c, 3).with('Add', before).op('Relu')
    })
  )
)

const first = [
  named('Conv 3×3 by 2 of 3 channels, 224', net(3, 224, 224).conv(8, 3, 2).op('Relu')),
  named('Conv 3×3 by 2 of 3 channels, 96', net(3, 96, 96).conv(16, 3, 2).op('Relu')),
  named('Conv 3×3 of 3 channels, 32', net(3, 32, 32).conv(16, 3).op('Relu')),
  named('Conv 10×4 by 2 of 1 channel', net(1, 49, 10).conv(64, [10, 4], 2).op('Relu')),
  named('Conv 3×3 by 2 of 3 channels, 128', net(3, 128, 128).conv(24, 3, 2).op('Relu')),
  named('Conv 3×3 by 2 of 3 channels to 32, 224', net(3, 224, 224).conv(32, 3, 2).op('Relu')),
  named('Conv 3×3 by 2 of 3 channels, 160', net(3, 160, 160).conv(8, 3, 2).op('Relu')),
  named('Conv 3×3 of 3 channels, 64', net(3, 64, 64).conv(8, 3).op('Relu')),
  named('Conv 5×5 of 1 channel', net(1, 28, 28).conv(8, 5).op('Relu')),
  named('Conv 10×4 of 1 channel', net(1, 49, 10).conv(32, [10, 4]).op('Relu')),
  named('Conv 5×5, 32 channels', net(32, 14, 14).conv(32, 5).op('Relu').conv(32, 5).op('Relu')),
  named('Conv 5×5', net(16, 28, 28).conv(16, 5).op('Relu')),
  named('Conv 7×7 by 2 of 3 channels', net(3, 112, 112).conv(32, 7, 2).op('Relu'))
]

const pooled = [
  ...at([
    [64, 0, 8],
    [256, 0, 7],
    [64, 0, 25, 5],
    [1024, 0, 7]
  ]).map(({ c, h, w }) =>
    named(
      `GlobalAveragePool and Gemm, ${c} channels`,
      net(c, h, w).to('GlobalAveragePool', [c, 1, 1]).to('Flatten', [c]).dense(10)
    )
  ),
  named(
    'MaxPool',
    repeat(net(32, 56, 56), 3, (n) => n.to('MaxPool', n.sizes, 'kernel_shape=[3, 3], pads=[1, 1, 1, 1]'))
  ),
  named(
    'AveragePool',
    repeat(net(32, 28, 28), 3, (n) => n.to('AveragePool', n.sizes, 'kernel_shape=[3, 3], pads=[1, 1, 1, 1]'))
  )
]

const products = [
  named('Gemm 784-128-10', net(784).dense(128).op('Relu').dense(10)),
  named('Gemm 256-1000', net(256).dense(1000).op('Softmax')),
  named('Gemm 1024-512-1024', net(1024).dense(512).op('Relu').dense(1024)),
  named('Gemm 64-64-64-12', net(64).dense(64).op('Relu').dense(64).op('Relu').dense(12).op('Softmax')),
  named(
    'MatMul 128×64×256',
    repeat(net(128, 64), 2, (n) => n.product(256).product(64))
  ),
  named(
    'MatMul 64×256×256',
    repeat(net(64, 256), 2, (n) => n.product(256))
  )
]

const others = [
  ...['Sigmoid', 'Tanh', 'HardSwish', 'Softmax', 'Erf'].map((op) =>
    named(
      op,
      repeat(net(64, 28, 28), 2, (n) => n.op(op))
    )
  ),
  named(
    'Add and Mul',
    repeat(net(64, 28, 28).op('Sigmoid'), 2, (n) => n.with('Mul', 'x').with('Add', 'x'))
  ),
  // As they stand where they are not made part of the layer before.
  ...at([
    [16, 0, 32],
    [32, 0, 16],
    [64, 0, 8]
  ]).map(({ c, h, w }) =>
    named(
      `Add and Relu, ${c} channels, ${h}×${w}`,
      repeat(net(c, h, w).op('Sigmoid'), 3, (n) => n.with('Add', 'x').op('Relu'))
    )
  ),
  named(
    'Transpose',
    net(64, 28, 28)
      .to('Transpose', [28, 28, 64], 'perm=[0, 2, 3, 1]')
      .to('Transpose', [64, 28, 28], 'perm=[0, 3, 1, 2]')
  ),
  ...[8, 96, 224].map((size) =>
    named(`roundings, ${size}`, net(3, size, size).to('Transpose', [size, size, 3], 'perm=[0, 2, 3, 1]'))
  ),
  named('nothing', net(8).op('Relu')),
  named('bytes', net(64, 56, 56).op('Relu'))
]

/** All of them, in the order that they are told in. */
export const kernelNetworks = (): readonly KernelNetwork[] => [
  ...[...dense3, ...dense1, ...depthwise, ...separable, ...strided, ...residual],
  ...[...first, ...pooled, ...products, ...others]
]
