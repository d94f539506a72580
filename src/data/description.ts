import { z } from 'zod'

/** Where data is and how it is read, as plain JSON: what a worker opens it from. */
export interface DataDescription {
  /** A folder or file; `images,labels` names two IDX files. */
  readonly path: string
  /** A preset's name, the path of a JSON file, or its content. */
  readonly preprocess?: string | Readonly<Record<string, unknown>> | undefined
  /** Path of a list of class names, one a line. */
  readonly labels?: string | undefined
  /** Of texts: path of a tokenizer.json or vocab.txt; by default the one beside the model. */
  readonly tokenizer?: string | undefined
  /** Of texts: tokens at most. */
  readonly maxLength?: number | undefined
  /** Of recordings: positions a second that they are resampled to; by default what the model's folder says, else 16,000. */
  readonly sampleRate?: number | undefined
  /** Of recordings: positions of a window, and from one window to the next. */
  readonly window?: number | undefined
  readonly hop?: number | undefined
}

/** Schema of a `DataDescription`. */
export const dataDescription: z.ZodType<DataDescription> = z.strictObject({
  path: z.string().min(1),
  preprocess: z.union([z.string().min(1), z.record(z.string(), z.unknown())]).optional(),
  labels: z.string().min(1).optional(),
  tokenizer: z.string().min(1).optional(),
  maxLength: z.int().min(1).optional(),
  sampleRate: z.int().min(1000).max(768000).optional(),
  window: z.int().min(1).optional(),
  hop: z.int().min(1).optional()
})
