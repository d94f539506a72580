/**
 * Seeded changes of training batches. Images (`[n, c, h, w]`, or `[n, h, w, c]` with up to four channels): mirrored,
 * moved, turned and scaled by one affine map about the centre, whose pixel positions are rounded and clamped to the
 * picture; a square cut out and filled with the sample's mean (DeVries and Taylor 2017). Features (last two axes: time
 * and frequency): moved in time, stretches of both masked with the sample's mean (Park et al., SpecAugment, 2019), and
 * noise in proportion to the sample's deviation.
 */
import { type Rng, rng } from '../base/random.ts'
import { bytesOf, elementCount, tensorOf, toFloats } from '../ir/tensor.ts'
import type { Batch, Tensor } from '../types.ts'
import type { StepPlace } from './loop.ts'

/** What may happen to a sample; each amount is the most. */
export interface Augmentation {
  readonly kind: 'image' | 'features'
  /** Images: mirror half of them left to right. */
  readonly flip?: boolean
  /** Fraction of the width and height (features: of the time). */
  readonly shift?: number
  /** Degrees, either way. */
  readonly rotate?: number
  /** 0.1: between 0.9 and 1.1. */
  readonly scale?: number
  /** Fraction of the side that is cut out; features: of each axis that is masked. */
  readonly mask?: number
  /** In standard deviations of the sample. */
  readonly noise?: number
}

/** Changes every float input of its kind of shape; the same place in a run gets the same changes. */
export function augmenter(a: Augmentation, seed: number | string): (batch: Batch, at: StepPlace) => Batch {
  const source = rng(seed)
  return (batch, at) => {
    const random = source.fork(`augment ${at.epoch} ${at.step}`)
    const inputs = Object.fromEntries(
      Object.entries(batch.inputs).map(([name, t]) => [name, isAugmented(a, t) ? changed(a, t, random) : t])
    )
    return { ...batch, inputs }
  }
}

const isAugmented = (a: Augmentation, t: Tensor): boolean =>
  t.dtype === 'float32' && (a.kind === 'image' ? t.shape.length === 4 : t.shape.length >= 3)

function changed(a: Augmentation, t: Tensor, random: Rng): Tensor {
  const from = toFloats(t)
  const to = new Float32Array(from.length)
  const samples = t.shape[0] as number
  const size = samples === 0 ? 0 : from.length / samples
  const planes = planesOf(a, t.shape.slice(1))
  for (let i = 0; i < samples; i++) {
    const [x, y] = [from.subarray(i * size, (i + 1) * size), to.subarray(i * size, (i + 1) * size)]
    if (a.kind === 'image') moveImage(a, planes, random, x, y)
    else moveInTime(a, planes, random, x, y)
    finish(a, planes, random, x, y)
  }
  return tensorOf('float32', t.shape, bytesOf(to))
}

/** Where element (plane, row, column) of a sample lies. */
interface Planes {
  readonly count: number
  readonly height: number
  readonly width: number
  readonly plane: number
  readonly row: number
  readonly column: number
}

function planesOf(a: Augmentation, shape: readonly number[]): Planes {
  const [first = 1, middle = 1, last = 1] = shape
  if (a.kind === 'image' && last <= 4 && first > 4)
    return { count: last, height: first, width: middle, plane: 1, row: middle * last, column: last }
  const [height, width] = shape.slice(-2) as [number, number]
  return { count: elementCount(shape.slice(0, -2)), height, width, plane: height * width, row: width, column: 1 }
}

const between = (random: Rng, most: number): number => most * (2 * random.next() - 1)

const within = (at: number, size: number): number => Math.min(size - 1, Math.max(0, at))

function moveImage(a: Augmentation, p: Planes, random: Rng, x: Float32Array, y: Float32Array): void {
  const mirror = a.flip && random.next() < 0.5 ? -1 : 1
  const dx = Math.round(between(random, (a.shift ?? 0) * p.width))
  const dy = Math.round(between(random, (a.shift ?? 0) * p.height))
  const angle = (between(random, a.rotate ?? 0) * Math.PI) / 180
  const zoom = 1 / (1 + between(random, a.scale ?? 0))
  const [cos, sin] = [zoom * Math.cos(angle), zoom * Math.sin(angle)]
  const [cx, cy] = [(p.width - 1) / 2, (p.height - 1) / 2]
  for (let r = 0; r < p.height; r++)
    for (let c = 0; c < p.width; c++) {
      const [u, v] = [mirror * (c - cx), r - cy]
      const column = within(Math.round(cx + cos * u - sin * v) - dx, p.width)
      const row = within(Math.round(cy + sin * u + cos * v) - dy, p.height)
      const [at, source] = [r * p.row + c * p.column, row * p.row + column * p.column]
      for (let k = 0; k < p.count; k++) y[at + k * p.plane] = x[source + k * p.plane] as number
    }
}

function moveInTime(a: Augmentation, p: Planes, random: Rng, x: Float32Array, y: Float32Array): void {
  const by = Math.round(between(random, (a.shift ?? 0) * p.height))
  for (let k = 0; k < p.count; k++)
    for (let r = 0; r < p.height; r++) {
      const source = k * p.plane + within(r - by, p.height) * p.row
      y.set(x.subarray(source, source + p.width), k * p.plane + r * p.row)
    }
}

/** Masks and noise. */
function finish(a: Augmentation, p: Planes, random: Rng, x: Float32Array, y: Float32Array): void {
  const { mask = 0, noise = 0 } = a
  if (mask <= 0 && noise <= 0) return
  let [sum, squares] = [0, 0]
  for (const v of x) {
    sum += v
    squares += v * v
  }
  const mean = sum / x.length
  const deviation = Math.sqrt(Math.max(0, squares / x.length - mean * mean))
  if (noise > 0) for (let i = 0; i < y.length; i++) y[i] = (y[i] as number) + noise * deviation * random.normal()
  if (mask <= 0) return
  const rows = stretch(random, mask, p.height)
  const columns = stretch(random, mask, p.width)
  if (a.kind === 'image') fill(p, y, rows, columns, mean)
  else {
    fill(p, y, rows, [0, p.width], mean)
    fill(p, y, [0, p.height], columns, mean)
  }
}

type Stretch = readonly [from: number, to: number]

function stretch(random: Rng, share: number, size: number): Stretch {
  const length = random.below(Math.floor(share * size) + 1)
  const from = random.below(size - length + 1)
  return [from, from + length]
}

function fill(p: Planes, y: Float32Array, [top, bottom]: Stretch, [left, right]: Stretch, value: number): void {
  for (let k = 0; k < p.count; k++)
    for (let r = top; r < bottom; r++)
      for (let c = left; c < right; c++) y[k * p.plane + r * p.row + c * p.column] = value
}
