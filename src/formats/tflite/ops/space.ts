/** Padding, resizing, and moving places into channels or the batch. */
import { type Call, type Convert, type Rows, range } from '../call.ts'

/** Pairs of before and after for each axis, as ONNX wants them: all before, then all after. */
function padsOf(c: Call): string {
  const known = c.content(1)
  const rank = c.rank()
  if (known)
    return c.ints([
      ...range(0, rank).map((i) => known[2 * i] ?? 0),
      ...range(0, rank).map((i) => known[2 * i + 1] ?? 0)
    ])
  return c.reshape(c.transpose(c.int64(1), [1, 0]), [2 * rank])
}

/** What repeats the border itself is picked by index: ONNX's reflection leaves it out. */
function mirrored(c: Call): string {
  if (c.text('mode') === 'REFLECT') return c.op('Pad', [c.value(), padsOf(c)], { mode: 'reflect' })
  const pads = c.fixed(1, 'its padding')
  return c.shape().reduce((x, size, axis) => {
    const [before, after] = [pads[2 * axis] ?? 0, pads[2 * axis + 1] ?? 0]
    if (before === 0 && after === 0) return x
    if (size < 0 || before > size || after > size || before < 0 || after < 0) c.refuse('it pads by more than there is')
    c.bounded(before + size + after)
    const places = range(-before, size + after).map((i) => (i < 0 ? -1 - i : i >= size ? 2 * size - 1 - i : i))
    return c.op('Gather', [x, c.ints(places)], { axis })
  }, c.value())
}

/** The size is an input; how places of both sizes correspond, is an option. */
const resized =
  (mode: 'linear' | 'nearest'): Convert =>
  (c) => {
    c.ranked(4)
    const [corners, half] = [c.flag('align_corners'), c.flag('half_pixel_centers')]
    const way = corners ? 'align_corners' : half ? 'half_pixel' : 'asymmetric'
    const rounding = mode === 'linear' ? {} : { nearest_mode: corners || half ? 'round_prefer_ceil' : 'floor' }
    const attrs = { mode, coordinate_transformation_mode: way, ...rounding }
    return c.channelsFirst((x) => c.op('Resize', [x, null, null, sizesOf(c, x)], attrs))
  }

/** Sizes of all axes, channels first: ONNX Runtime does not open every file in which Resize names axes. */
function sizesOf(c: Call, x: string): string {
  const [samples = -1, , , channels = -1] = c.shape()
  const places = c.content(1)
  if (samples >= 0 && channels >= 0 && places) return c.ints([samples, channels, ...places])
  return c.op('Concat', [c.op('Shape', [x], { end: 2 }), c.int64(1)], { axis: 0 })
}

const blocked =
  (op: string, attrs: Record<string, string> = {}): Convert =>
  (c) => {
    c.ranked(4)
    return c.channelsFirst((x) => c.op(op, [x], { blocksize: c.number('block_size'), ...attrs }))
  }

/** Places of the data: all axes between batch and channels. Refuses free sizes there. */
function placesOf(c: Call, block: readonly number[]): readonly number[] {
  const places = c.shape().slice(1, 1 + block.length)
  if (
    places.length !== block.length ||
    c
      .shape()
      .slice(1)
      .some((d) => d < 0) ||
    block.some((b) => b < 1)
  )
    c.refuse('its sizes are not fixed')
  return places
}

/** Each place of a block becomes a sample of its own, in front of the samples. */
function spaceToBatch(c: Call): string {
  const [block, pads] = [c.fixed(1, 'its block'), c.fixed(2, 'its padding')]
  const n = block.length
  const rest = c.shape().slice(1 + n)
  const padded = placesOf(c, block).map((d, i) => d + (pads[2 * i] ?? 0) + (pads[2 * i + 1] ?? 0))
  const sides = (k: number): readonly number[] => [
    0,
    ...block.map((_, i) => pads[2 * i + k] ?? 0),
    ...rest.map(() => 0)
  ]
  const x = pads.some((p) => p !== 0) ? c.op('Pad', [c.value(), c.ints([...sides(0), ...sides(1)])]) : c.value()
  const cells = padded.map((d, i) => d / (block[i] ?? 1))
  if (cells.some((d) => !Number.isInteger(d))) c.refuse('its blocks do not fit into the data')
  const split = c.reshape(x, [-1, ...cells.flatMap((d, i) => [d, block[i] ?? 1]), ...rest])
  const order = [
    ...block.map((_, i) => 2 + 2 * i),
    0,
    ...block.map((_, i) => 1 + 2 * i),
    ...rest.map((_, i) => 1 + 2 * n + i)
  ]
  return c.reshape(c.transpose(split, order), [-1, ...cells, ...rest])
}

function batchToSpace(c: Call): string {
  const [block, crops] = [c.fixed(1, 'its block'), c.fixed(2, 'its cropping')]
  const n = block.length
  const rest = c.shape().slice(1 + n)
  const places = placesOf(c, block)
  const split = c.reshape(c.value(), [...block, -1, ...places, ...rest])
  const order = [n, ...block.flatMap((_, i) => [n + 1 + i, i]), ...rest.map((_, i) => 2 * n + 1 + i)]
  const whole = places.map((d, i) => d * (block[i] ?? 1))
  const joined = c.reshape(c.transpose(split, order), [-1, ...whole, ...rest])
  if (crops.every((p) => p === 0)) return joined
  const starts = block.map((_, i) => crops[2 * i] ?? 0)
  const ends = whole.map((d, i) => d - (crops[2 * i + 1] ?? 0))
  return c.op('Slice', [joined, c.ints(starts), c.ints(ends), c.ints(range(1, 1 + n))])
}

export const spaceRows: Rows = {
  PAD: (c) => c.op('Pad', [c.value(), padsOf(c)]),
  PADV2: (c) => c.op('Pad', [c.value(), padsOf(c), c.rank(2) === 0 ? c.value(2) : c.reshape(c.value(2), [])]),
  MIRROR_PAD: mirrored,
  RESIZE_BILINEAR: resized('linear'),
  RESIZE_NEAREST_NEIGHBOR: resized('nearest'),
  SPACE_TO_DEPTH: blocked('SpaceToDepth'),
  DEPTH_TO_SPACE: blocked('DepthToSpace', { mode: 'DCR' }),
  SPACE_TO_BATCH_ND: spaceToBatch,
  BATCH_TO_SPACE_ND: batchToSpace
}
