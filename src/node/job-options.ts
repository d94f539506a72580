/** What jobs and `compressFile` may be given, checked as the command line checks it. */
import { z } from 'zod'
import { PareError } from '../base/errors.ts'
import { parseOptions } from '../base/options.ts'
import { dataDescription } from '../data/description.ts'
import { storedTypes } from '../passes/quantize/mix/types.ts'
import { objectives } from '../search/choose.ts'
import { costNames } from '../search/space/space.ts'
import type { Metric } from '../types.ts'
import { type DataSource, isDataset, type Job, jobCommands } from './job.ts'

const path = z.string().min(1)
/** A share of the original that may be left. */
const left = z.number().gt(0).max(1)

const source = z.custom<DataSource>().superRefine((given, ctx) => {
  if (isDataset(given)) return
  const read = dataDescription.safeParse(given)
  if (typeof given !== 'object' || given === null)
    ctx.addIssue({ code: 'custom', message: 'expected { path, … } or a Dataset { size, labelled, batches }' })
  else for (const issue of read.error?.issues ?? []) ctx.addIssue({ ...issue, input: given } as never)
})

const metric = z.union([path, z.custom<Metric>((m) => typeof m === 'object' && m !== null && 'scores' in m)], {
  error: 'expected the name of a metric, the path of a module, or a Metric { name, scores, … }'
})

const step = z.tuple([z.string(), z.record(z.string(), z.unknown())])

/** Fields that `compressFile` has too. */
const shared = {
  out: path.optional(),
  force: z.boolean().optional(),
  check: z.boolean().optional(),
  target: path.optional(),
  seed: z.int().min(0).optional(),
  threads: z.int().min(1).max(1024).optional(),
  costModel: path.optional(),
  metric: metric.optional(),
  judged: z.array(z.string()).min(1).optional(),
  maxDrop: z.number().min(0).lt(1).optional(),
  objective: z.enum(objectives).optional(),
  recipe: z.array(step).optional(),
  strategy: path.optional(),
  adaptive: z.boolean().optional(),
  maxSeconds: z.number().positive().optional(),
  resume: z.boolean().optional(),
  read: z.record(z.string(), z.unknown()).optional(),
  write: z.record(z.string(), z.unknown()).optional()
}

/** Every field of a job: one that is missing here does not compile. */
const jobFields = {
  ...shared,
  command: z.enum(jobCommands),
  line: z.string(),
  model: path,
  other: path.optional(),
  data: z
    .strictObject({
      data: source.optional(),
      evaluation: source.optional(),
      calibration: source.optional(),
      train: source.optional(),
      open: source.optional()
    })
    .optional(),
  reference: path.optional(),
  search: z
    .strictObject({
      strategies: z.array(path).min(1),
      trials: z.int().min(1).max(100_000),
      seeds: z.int().min(1).max(100),
      budget: z.strictObject({ bytes: left.optional(), macs: left.optional(), latency: left.optional() }),
      least: z.enum(costNames).optional(),
      workers: z.union([z.int().min(1).max(256), z.string().regex(/^(redis|valkey)s?:\/\//)]).optional(),
      ahead: z.int().min(1).max(256),
      types: z.array(z.enum(storedTypes)).optional(),
      channels: z.boolean().optional(),
      sparsity: z.array(z.number().gt(0).lt(1)).max(20).optional(),
      ranks: z.array(z.number().gt(0).lt(1)).max(20).optional(),
      leastKept: z.number().gt(0).max(1).optional(),
      exclude: z.array(z.string()).optional(),
      only: z.boolean().optional()
    })
    .optional(),
  tune: z.boolean().optional(),
  only: z.array(z.string()).optional(),
  reports: z.boolean().optional(),
  graph: z.boolean().optional(),
  groups: z.boolean().optional(),
  layers: z.boolean().optional(),
  engines: z.boolean().optional(),
  seconds: z.number().positive().optional(),
  federation: z
    .strictObject({
      recipe: z.record(z.string(), z.unknown()).optional(),
      clients: z.int().min(1).max(100_000).optional(),
      alpha: z.number().positive().max(1e6).optional(),
      hostile: z.strictObject({ share: z.number().min(0).max(1), factor: z.number() }).optional(),
      student: path.optional(),
      workers: z.int().min(1).max(1024).optional()
    })
    .optional()
} satisfies Record<keyof Job, z.ZodType>
const jobSchema = z.strictObject(jobFields)

const fromProgram = z
  .custom<string | DataSource>()
  .transform((given) => (typeof given === 'string' ? { path: given } : given))
  .pipe(source)

const compressSchema = z.strictObject({
  ...shared,
  out: path,
  data: fromProgram.optional(),
  evalData: fromProgram.optional(),
  calibrationData: fromProgram.optional(),
  trainData: fromProgram.optional()
})

/** Throws `E_OPTION` that names the field, with what is near it where there is none of that name. */
export function checkJob(job: Job): void {
  parseOptions({ name: `job ${String((job as Partial<Job>).command)}`, options: jobSchema }, job)
}

/** Options of `compressFile`, paths of data as descriptions. Throws `E_OPTION` as `checkJob`. */
export const compressOptions = (given: unknown): z.output<typeof compressSchema> =>
  parseOptions({ name: 'compressFile', options: compressSchema }, given)

const otherNames: Readonly<Record<string, string>> = {
  output: 'judged',
  'max-time': 'maxSeconds',
  'no-check': 'check: false'
}

/** Texts of the command line, in the words of `compressFile`: `maxDrop` for `--max-drop 1%`. */
const inOptions = (text: string): string =>
  text.replace(
    /--([a-z][a-z-]*[a-z])(?: (?:PATH|NAME|FILE[.\w]*))?/g,
    (_, flag: string) => otherNames[flag] ?? flag.replace(/-([a-z])/g, (_all, c: string) => c.toUpperCase())
  )

/** The error with flags named as the options that a program wrote. */
export function asOptions(thrown: unknown): unknown {
  if (!(thrown instanceof PareError)) return thrown
  const { code, message, where, facts, hint, cause } = thrown
  return new PareError(code, inOptions(message), {
    ...(where === undefined ? {} : { where: inOptions(where) }),
    facts: Object.fromEntries(Object.entries(facts).map(([name, text]) => [name, inOptions(text)])),
    ...(hint === undefined ? {} : { hint: inOptions(hint) }),
    cause: cause ?? thrown
  })
}
