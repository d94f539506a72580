/** How windows are laid over an image: TensorFlow's SAME and VALID, and a Pad in front for all else. */

import { attrInts, attrString } from '../../../ir/attrs.ts'
import { rangeOf, tensor } from '../../../ir/tensor.ts'
import type { DType } from '../../../types.ts'
import { codesOf, type Site } from './site.ts'

export interface Windows {
  readonly kernel: readonly number[]
  readonly stride: readonly number[]
  readonly dilation: readonly number[]
  /** Padding before and behind each axis, as much as the windows reach. */
  readonly before: readonly number[]
  readonly behind: readonly number[]
}

/** The windows of a node from `sizes` to `outputs` along its spatial axes. */
export function windowsOf(
  s: Site,
  kernel: readonly number[],
  sizes: readonly number[],
  outputs: readonly number[]
): Windows {
  const list = (name: string): readonly number[] => attrInts(s.node, name) ?? kernel.map(() => 1)
  const [stride, dilation] = [list('strides'), list('dilations')]
  const pads = attrInts(s.node, 'pads') ?? []
  const auto = attrString(s.node, 'auto_pad', 'NOTSET')
  /** What the windows reach beyond the data in all. */
  const all = sizes.map((size, i) => {
    const span = ((kernel[i] as number) - 1) * (dilation[i] as number) + 1
    return Math.max(0, ((outputs[i] as number) - 1) * (stride[i] as number) + span - size)
  })
  const before = all.map((total, i) => {
    if (auto === 'SAME_UPPER') return Math.floor(total / 2)
    if (auto === 'SAME_LOWER') return Math.ceil(total / 2)
    return auto === 'VALID' ? 0 : (pads[i] ?? 0)
  })
  const behind = sizes.map((size, i) => {
    const span = ((kernel[i] as number) - 1) * (dilation[i] as number) + 1
    return Math.max(0, ((outputs[i] as number) - 1) * (stride[i] as number) + span - size - (before[i] as number))
  })
  return { kernel, stride, dilation, before, behind }
}

/** The padding that TensorFlow Lite knows by name; `undefined` for any other. */
export function namedPadding(w: Windows, sizes: readonly number[], outputs: readonly number[]): string | undefined {
  if (w.before.every((p) => p === 0) && w.behind.every((p) => p === 0)) return 'VALID'
  const isSame = sizes.every((size, i) => {
    const total = (w.before[i] as number) + (w.behind[i] as number)
    return outputs[i] === Math.ceil(size / (w.stride[i] as number)) && w.before[i] === Math.floor(total / 2)
  })
  return isSame ? 'SAME' : undefined
}

/** The data with a border of `value` around its spatial axes, on codes where it is quantized. Channels come first. */
export function padded(s: Site, id: string, w: Windows, value = 0): string {
  const shape = s.draft.value(id)?.shape as readonly number[]
  // As much as the node says, though the windows may not reach it: runtimes look for borders alike on both sides.
  const said = attrInts(s.node, 'pads')?.slice(w.before.length) ?? []
  const pads = [0, 0, ...w.before, 0, 0, ...w.behind.map((b, i) => Math.max(b, said[i] ?? 0))]
  const to = shape.map((d, i) => d + (pads[i] as number) + (pads[shape.length + i] as number))
  const list = s.data(tensor('int64', [pads.length], pads))
  const maker = s.draft.producer(id)
  const q = maker?.op === 'DequantizeLinear' && !codesOf(s.draft, id) ? maker : undefined
  if (!q) return s.onnx('Pad', [id, list, s.number(value)], {}, { shape: to })
  const codes = q.inputs[0] as string
  const dtype = s.draft.value(codes)?.dtype as DType
  // Below all numbers means the lowest code.
  const border = value === 0 ? q.inputs[2] : s.data(tensor(dtype, [], [rangeOf(dtype).min]))
  const wider = s.onnx('Pad', [codes, list, border ?? s.data(tensor(dtype, [], [0]))], {}, { shape: to, dtype })
  return s.onnx('DequantizeLinear', [wider, ...q.inputs.slice(1)], q.attrs, { shape: to })
}
