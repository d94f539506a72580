/** Resampling and regrouping of an image, channels last. */
import { attrInt, attrInts, attrString } from '../../../ir/attrs.ts'
import { toFloats } from '../../../ir/tensor.ts'
import { type Rules, refuse, type Site, toFirst, toLast } from './site.ts'

/** `made` has channels last; the node's output has them first. */
function lastToFirst(s: Site, code: string, inputs: readonly string[], fields: Record<string, number | string>): void {
  const { shape, as, dtype } = s.y
  const made = s.op(code, inputs, fields, { shape: toLast(4).map((a) => shape[a] as number), dtype })
  s.turned(made, toFirst(4), as)
}

/** Coordinates that both know: by half pixels, by corners, and plain. */
const coordinates: Readonly<Record<string, Record<string, number>>> = {
  half_pixel: { half_pixel_centers: 1 },
  pytorch_half_pixel: { half_pixel_centers: 1 },
  align_corners: { align_corners: 1 },
  asymmetric: {}
}

function resize(s: Site): void {
  const [x, { shape }] = [s.dims(0), s.y]
  if (x.length !== 4) refuse(`resampling along ${x.length - 2} axes`)
  if (x[0] !== shape[0] || x[1] !== shape[1]) refuse('resampling along batch or channels')
  const mode = attrString(s.node, 'mode', 'nearest')
  const placed = attrString(s.node, 'coordinate_transformation_mode', 'half_pixel')
  const to = [shape[2] as number, shape[3] as number]
  const whole = to.map((d, i) => d / (x[i + 2] as number))
  const isGrown = whole.every(Number.isInteger)
  const fields = mode === 'nearest' && isGrown ? {} : coordinates[placed]
  if (mode !== 'nearest' && mode !== 'linear') refuse(`resampling of mode ${mode}`)
  if (!fields) refuse(`resampling with coordinates ${placed}`)
  if (mode === 'linear' && attrInt(s.node, 'antialias', 0) !== 0) refuse('resampling with antialiasing')
  const scales = s.constant(2)
  const exact =
    !scales || toFloats(scales).every((f, i) => Math.abs(f * (x[i] as number) - (shape[i] as number)) < 1e-3)
  if (!exact && !attrInts(s.node, 'axes')) refuse('factors that do not give whole sizes')
  if (mode === 'nearest' && !isGrown && !takesFloor(s, placed))
    refuse(`nearest neighbours of mode ${attrString(s.node, 'nearest_mode', 'round_prefer_floor')} with ${placed}`)
  const code = mode === 'nearest' ? 'RESIZE_NEAREST_NEIGHBOR' : 'RESIZE_BILINEAR'
  lastToFirst(s, code, [s.turned(s.id(0), toLast(4)), s.ints(to)], fields)
}

/** The kernel takes the floor of coordinates, of half pixels with the half left on, and rounds those by corners. */
function takesFloor(s: Site, placed: string): boolean {
  const rounding = attrString(s.node, 'nearest_mode', 'round_prefer_floor')
  if (placed === 'asymmetric') return rounding === 'floor'
  return rounding === (placed === 'align_corners' ? 'round_prefer_ceil' : 'round_prefer_ceil')
}

function depthToSpace(s: Site): void {
  if (attrString(s.node, 'mode', 'DCR') !== 'DCR') refuse('the order CRD of channels')
  const block = attrInt(s.node, 'blocksize', 1)
  lastToFirst(s, 'DEPTH_TO_SPACE', [s.turned(s.id(0), toLast(4))], { block_size: block })
}

function spaceToDepth(s: Site): void {
  const block = attrInt(s.node, 'blocksize', 1)
  lastToFirst(s, 'SPACE_TO_DEPTH', [s.turned(s.id(0), toLast(4))], { block_size: block })
}

export const spaceRules: Rules = { Resize: resize, DepthToSpace: depthToSpace, SpaceToDepth: spaceToDepth }
