/** Pools, channels last. Over all of an image they are reductions. */
import { attrInt, attrInts } from '../../../ir/attrs.ts'
import { tensor } from '../../../ir/tensor.ts'
import { type Rule, type Rules, refuse, type Site, toFirst, toLast } from './site.ts'
import { namedPadding, padded, type Windows, windowsOf } from './window.ts'

const pool =
  (code: 'MAX_POOL_2D' | 'AVERAGE_POOL_2D'): Rule =>
  (s) => {
    const [x, y] = [s.dims(0), s.y]
    if (s.node.outputs[1]) refuse('places of the maxima as a second output')
    if (x.length === 3) {
      alongOne(s)
      return
    }
    if (x.length !== 4) refuse(`a pool along ${x.length - 2} axes`)
    const w = windowsOf(s, attrInts(s.node, 'kernel_shape') ?? [], x.slice(2), y.shape.slice(2))
    if (w.dilation.some((d) => d !== 1)) refuse('a dilated pool')
    const [sizes, to] = [x.slice(2), y.shape.slice(2)]
    const isMax = code === 'MAX_POOL_2D'
    const countsBorder = !isMax && attrInt(s.node, 'count_include_pad', 0) !== 0
    const named = namedPadding(w, sizes, to)
    const padding = countsBorder && named === 'SAME' ? undefined : named
    const data = padding === undefined ? padded(s, s.id(0), w, isMax ? -3.4028234663852886e38 : 0) : s.id(0)
    const fields = {
      padding: padding ?? 'VALID',
      stride_h: w.stride[0],
      stride_w: w.stride[1],
      filter_height: w.kernel[0],
      filter_width: w.kernel[1]
    }
    const shape = toLast(4).map((a) => y.shape[a] as number)
    const made = s.op(code, [s.turned(data, toLast(4))], fields, { shape })
    const needsCounts = !isMax && padding === undefined && !(countsBorder && hasWholeBorder(s, w))
    if (!needsCounts) s.turned(made, toFirst(4), y.as)
    else s.onnx('Mul', [s.turned(made, toFirst(4)), shares(s, w, sizes, to, countsBorder)], {}, y)
  }

/** Does the border have all the values that the windows reach? With `ceil_mode` the last ones may reach beyond. */
function hasWholeBorder(s: Site, w: Windows): boolean {
  const pads = attrInts(s.node, 'pads')
  return !pads || w.behind.every((b, i) => b <= (pads[i + w.behind.length] as number))
}

/** Values of a window in all, to those that count in the mean: [1, 1, height, width]. */
function shares(s: Site, w: Windows, sizes: readonly number[], to: readonly number[], countsBorder: boolean): string {
  const pads = attrInts(s.node, 'pads') ?? [0, 0, 0, 0]
  const counts = to.map((n, i) =>
    Array.from({ length: n }, (_, p) => {
      const from = p * (w.stride[i] as number) - (w.before[i] as number)
      const [low, high] = countsBorder
        ? [-(w.before[i] as number), (sizes[i] as number) + (pads[i + 2] as number)]
        : [0, sizes[i] as number]
      return Math.min(from + (w.kernel[i] as number), high) - Math.max(from, low)
    })
  )
  const whole = (w.kernel[0] as number) * (w.kernel[1] as number)
  const values = (counts[0] as number[]).flatMap((a) => (counts[1] as number[]).map((b) => whole / (a * b)))
  return s.data(tensor('float32', [1, 1, ...to], values), `${s.y.as}_shares`)
}

function alongOne(s: Site): void {
  const y = s.y
  const at = s.data(tensor('int64', [1], [2]))
  const two = (name: string, first: number): readonly number[] | undefined => {
    const given = attrInts(s.node, name)
    return given && (given.length === 2 ? [0, given[0] as number, 0, given[1] as number] : [first, ...given])
  }
  const attrs = {
    ...s.node.attrs,
    kernel_shape: two('kernel_shape', 1),
    strides: two('strides', 1),
    dilations: two('dilations', 1),
    pads: two('pads', 0)
  }
  const wide = s.onnx('Unsqueeze', [s.id(0), at], {}, { shape: s.dims(0).toSpliced(2, 0, 1) })
  const made = s.onnx(s.node.op, [wide], attrs, { shape: y.shape.toSpliced(2, 0, 1) })
  s.onnx('Squeeze', [made, at], {}, y)
}

const whole =
  (op: string): Rule =>
  (s) => {
    const axes = s.dims(0).flatMap((_, i) => (i < 2 ? [] : [i]))
    s.onnx(op, [s.id(0), s.data(tensor('int64', [axes.length], axes))], { keepdims: 1 }, s.y)
  }

export const poolRules: Rules = {
  MaxPool: pool('MAX_POOL_2D'),
  AveragePool: pool('AVERAGE_POOL_2D'),
  GlobalAveragePool: whole('ReduceMean'),
  GlobalMaxPool: whole('ReduceMax')
}
