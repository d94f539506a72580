/** Options that the passes which train have in common, and what of them the training loop is given. */
import { z } from 'zod'
import { type Augmentation, augmenter } from '../../train/augment.ts'
import type { LoopEnvironment, Optimizer, Schedule } from '../../train/index.ts'

const share = (most: number) => z.number().min(0).max(most)

/** Fields of a pass's options; each pass adds its loss. */
export const trainingFields = {
  epochs: z.int().min(1).max(100_000).default(3).describe('times that all training samples are seen'),
  batch: z.int().min(1).max(65_536).default(128).describe('samples in a step'),
  optimizer: z
    .strictObject({
      name: z.enum(['sgd', 'adam', 'adamw']).default('sgd').describe('sgd: with momentum'),
      rate: z
        .number()
        .positive()
        .optional()
        .describe(
          'learning rate at its highest; by default 0.02 for sgd (0.002 in train-quantized with 4 bits and more) and 0.001 for adam and adamw'
        ),
      momentum: z.number().min(0).max(0.9999).default(0.9).describe('share of the direction that is kept'),
      decay: z.number().min(0).max(1).default(0.0005).describe('weight decay, of matrices and kernels only'),
      clip: z
        .number()
        .positive()
        .optional()
        .describe('longest gradient; by default 1 for models without normalization layers, which diverge easily')
    })
    .prefault({}),
  schedule: z
    .strictObject({
      kind: z.enum(['cosine', 'step', 'constant']).default('cosine').describe('how the rate falls'),
      warmup: share(1).default(0.05).describe('share of the run in which the rate rises')
    })
    .prefault({}),
  augment: z
    .strictObject({
      kind: z
        .enum(['none', 'image', 'features'])
        .default('none')
        .describe('image: pictures moved and mirrored; features: time and frequency masked'),
      flip: z.boolean().default(true).describe('images: mirror half of them'),
      shift: share(1).default(0.125).describe('most movement, as a fraction of width and height, or of time'),
      rotate: share(180).default(0).describe('images: most rotation, in degrees'),
      scale: share(0.9).default(0).describe('images: most change of size, as a fraction'),
      mask: share(1)
        .optional()
        .describe('most of a side that is masked, as a fraction; by default nothing of images and 0.2 of features'),
      noise: share(10)
        .optional()
        .describe('noise in standard deviations; by default 0 for images and 0.05 for features')
    })
    .prefault({}),
  ema: z
    .number()
    .gt(0)
    .lt(1)
    .optional()
    .describe('keep a moving average of the weights, with this share of the old in each step (as 0.999), as the model'),
  patience: z
    .int()
    .min(1)
    .optional()
    .describe('epochs without a better score on the held-out samples after which it stops'),
  holdout: share(0.9)
    .optional()
    .describe(
      'share of the labelled samples (in distill, with fewer than 100 of them, of all) that is kept from training, to choose the epoch by; 0: train on all, keep the last epoch'
    ),
  validateEvery: z
    .int()
    .min(1)
    .default(1)
    .describe('epochs from one look at the held-out samples to the next; the last epoch is always looked at'),
  keep: z
    .enum(['best', 'last'])
    .default('best')
    .describe('which epoch becomes the model: the best by the held-out samples, or the last')
} as const

/** The common options with their defaults. */
export type TrainingOptions = z.output<z.ZodObject<typeof trainingFields>>

/** The optimizer of a training graph. */
export function optimizerOf({ optimizer: { name, momentum, decay } }: TrainingOptions): Optimizer {
  if (name === 'sgd') return { kind: 'sgd', momentum, weightDecay: decay }
  return { kind: name, betas: [momentum, 0.999], weightDecay: decay }
}

/** The learning rate that was asked for, or one that suits the optimizer. */
export const rateOf = ({ optimizer: { name, rate } }: TrainingOptions): number =>
  rate ?? (name === 'sgd' ? 0.02 : 0.001)

/** The schedule over a run of `steps`. */
export const scheduleOf = ({ schedule }: TrainingOptions, steps: number): Schedule => ({
  kind: schedule.kind,
  warmup: Math.round(schedule.warmup * steps)
})

type Augment = (...at: Parameters<NonNullable<LoopEnvironment['prepare']>>) => ReturnType<ReturnType<typeof augmenter>>

/** What changes the batches; `undefined` where nothing does. */
export function augmentOf({ augment }: TrainingOptions, seed: string): Augment | undefined {
  const { kind, mask, noise, ...rest } = augment
  if (kind === 'none') return undefined
  const isImage = kind === 'image'
  const a: Augmentation = { kind, ...rest, mask: mask ?? (isImage ? 0 : 0.2), noise: noise ?? (isImage ? 0 : 0.05) }
  return augmenter(a, seed)
}
