/**
 * What is done to raw samples before a model sees them: x·scale, then (x − mean) / std per channel; for pictures also
 * how they are resized and cropped. Named presets, the project's own JSON, and Hugging Face's preprocessor_config.json.
 */
import { z } from 'zod'
import { PareError } from '../base/errors.ts'

export type Layout = 'nchw' | 'nhwc'

/** `resize`, `crop`: a number is the shorter side (resize) or both sides (crop), a pair is height and width. */
export interface Preprocess {
  readonly scale: number
  readonly mean: readonly number[]
  readonly std: readonly number[]
  readonly resize?: number | readonly [height: number, width: number] | undefined
  readonly crop?: number | readonly [height: number, width: number] | undefined
  /** Of the model's input; by default read off its shape. */
  readonly layout?: Layout | undefined
}

const imagenet = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }

/** The presets of `--preprocess`. */
export const presets: Readonly<Record<string, Preprocess>> = {
  imagenet: { scale: 1 / 255, ...imagenet },
  tf: { scale: 1 / 127.5, mean: [1], std: [1] },
  unit: { scale: 1 / 255, mean: [0], std: [1] },
  none: { scale: 1, mean: [0], std: [1] }
}

const side = z.number().int().min(1).max(65536)
const sizes = z.union([side, z.tuple([side, side])])
const perChannel = z
  .union([z.number(), z.array(z.number()).min(1).max(4)])
  .transform((v) => (typeof v === 'number' ? [v] : v))
const positive = perChannel.refine((v) => v.every((s) => s > 0), 'must be above 0')

/** Schema of the project's own preprocessing file. */
export const preprocessSchema = z.strictObject({
  scale: z.number().default(1).describe('factor on the raw value, before mean and std'),
  mean: perChannel.default([0]).describe('subtracted after scaling, one number or one a channel'),
  std: positive.default([1]).describe('divides after subtracting, one number or one a channel'),
  resize: sizes.optional().describe('shorter side, or [height, width]'),
  crop: sizes.optional().describe('side of the centre crop, or [height, width]'),
  layout: z.enum(['nchw', 'nhwc']).optional().describe("the model's input layout; read off its shape by default")
})

const extent = z.union([
  side,
  z.object({ shortest_edge: side, longest_edge: z.undefined().optional() }),
  z.object({ height: side, width: side })
])
const huggingFaceSchema = z.object({
  do_resize: z.boolean().optional(),
  size: extent.optional(),
  crop_pct: z.number().gt(0).max(1).nullish(),
  do_center_crop: z.boolean().optional(),
  crop_size: extent.optional(),
  do_rescale: z.boolean().optional(),
  rescale_factor: z.number().optional(),
  do_normalize: z.boolean().optional(),
  image_mean: perChannel.nullish(),
  image_std: positive.nullish(),
  do_pad: z.literal(false).nullish(),
  do_flip_channel_order: z.literal(false).nullish()
})
const huggingFaceKeys = [
  'image_processor_type',
  'feature_extractor_type',
  'do_normalize',
  'do_rescale',
  'image_mean',
  'do_resize'
]

/** Reads a preset's name, the project's own JSON or Hugging Face's. Throws `E_OPTION` naming what does not fit. */
export function parsePreprocess(given: unknown, where = '--preprocess'): Preprocess {
  if (typeof given === 'string') {
    const preset = Object.hasOwn(presets, given) ? presets[given] : undefined
    if (preset) return preset
    throw new PareError('E_OPTION', `no preprocessing named '${given}'`, {
      where,
      hint: `${Object.keys(presets).join(', ')}, or a JSON file with { scale, mean, std, resize, crop, layout }`
    })
  }
  const foreign = typeof given === 'object' && given !== null && huggingFaceKeys.some((key) => key in given)
  return foreign ? fromHuggingFace(checked(huggingFaceSchema, given, where)) : checked(preprocessSchema, given, where)
}

function checked<T>(schema: z.ZodType<T>, given: unknown, where: string): T {
  const result = schema.safeParse(given)
  if (result.success) return result.data
  throw new PareError('E_OPTION', 'the preprocessing cannot be used', {
    where,
    facts: { why: z.prettifyError(result.error) }
  })
}

type HuggingFace = z.infer<typeof huggingFaceSchema>

function fromHuggingFace(h: HuggingFace): Preprocess {
  const scale = h.do_rescale === false ? 1 : (h.rescale_factor ?? 1 / 255)
  const normal = h.do_normalize !== false && (h.image_mean != null || h.image_std != null || h.do_normalize === true)
  const crop = h.do_center_crop !== false && h.crop_size !== undefined ? sized(h.crop_size) : undefined
  const size = h.do_resize !== false && h.size !== undefined ? sized(h.size) : undefined
  // A bare number is both sides where nothing is cropped afterwards, the shorter side otherwise.
  const resize =
    typeof h.size === 'number' && size !== undefined && crop === undefined ? ([h.size, h.size] as const) : size
  const geometry = cropPercentage(h) ?? { ...(resize !== undefined && { resize }), ...(crop !== undefined && { crop }) }
  return {
    scale,
    mean: normal ? (h.image_mean ?? [0.5]) : [0],
    std: normal ? (h.image_std ?? [0.5]) : [1],
    ...geometry
  }
}

/** ConvNeXt's rule: below 384 resize the shorter side to size / crop_pct and crop; from 384 on resize to a square. */
function cropPercentage(h: HuggingFace): Pick<Preprocess, 'resize' | 'crop'> | undefined {
  if (h.crop_pct == null || h.do_resize === false || h.size === undefined) return undefined
  const target = sized(h.size)
  if (typeof target !== 'number') return undefined
  return target < 384 ? { resize: Math.floor(target / h.crop_pct), crop: target } : { resize: [target, target] }
}

function sized(e: z.infer<typeof extent>): number | [number, number] {
  if (typeof e === 'number') return e
  return 'height' in e ? [e.height, e.width] : e.shortest_edge
}

/** Height and width to resize to and to cut from the centre. */
export interface Geometry {
  readonly resize: readonly [height: number, width: number]
  readonly crop: readonly [height: number, width: number]
}

/** A picture's usual margin: networks for 224 are evaluated on a shorter side of 256. */
const margin = 256 / 224

/**
 * How a picture of `from` becomes the input of `to` (undefined where the model leaves it open). Without `resize` the
 * picture is scaled so that it covers `to` × 256/224. `undefined`: it cannot be made to fit.
 */
export function geometry(
  from: readonly [number, number],
  to: readonly [number | undefined, number | undefined],
  p: Pick<Preprocess, 'resize' | 'crop'>
): Geometry | undefined {
  const given = p.crop === undefined ? undefined : pair(p.crop)
  const wanted = [to[0] ?? given?.[0], to[1] ?? given?.[1]] as const
  const resize = p.resize === undefined ? defaultResize(from, wanted) : scaled(from, p.resize)
  if (!resize) return undefined
  const crop = [wanted[0] ?? resize[0], wanted[1] ?? resize[1]] as const
  if (given && (given[0] !== crop[0] || given[1] !== crop[1])) return undefined
  return crop[0] <= resize[0] && crop[1] <= resize[1] ? { resize, crop } : undefined
}

const pair = (v: number | readonly [number, number]): readonly [number, number] => (typeof v === 'number' ? [v, v] : v)

function scaled(from: readonly [number, number], to: number | readonly [number, number]): readonly [number, number] {
  if (typeof to !== 'number') return to
  const ratio = to / Math.min(from[0], from[1])
  return from[0] <= from[1]
    ? [to, Math.max(to, Math.round(from[1] * ratio))]
    : [Math.max(to, Math.round(from[0] * ratio)), to]
}

function defaultResize(
  from: readonly [number, number],
  to: readonly [number | undefined, number | undefined]
): readonly [number, number] | undefined {
  const [h, w] = to
  if (h === undefined || w === undefined) return undefined
  const cover = [Math.round(h * margin), Math.round(w * margin)] as const
  return cover[0] * from[1] >= cover[1] * from[0]
    ? [cover[0], Math.max(cover[1], Math.round((from[1] * cover[0]) / from[0]))]
    : [Math.max(cover[0], Math.round((from[0] * cover[1]) / from[1])), cover[1]]
}
