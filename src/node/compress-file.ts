import { PareError } from '../base/errors.ts'
import type { DataSource, Job, JobHooks, JobResult } from './job.ts'
import { asOptions, compressOptions } from './job-options.ts'
import { runJob } from './jobs.ts'

/** Options of `compressFile`: those of `pare compress`, in camel case. */
export interface CompressFileOptions
  extends Pick<
    Job,
    | 'force'
    | 'check'
    | 'target'
    | 'seed'
    | 'read'
    | 'write'
    | 'threads'
    | 'metric'
    | 'judged'
    | 'maxDrop'
    | 'objective'
    | 'strategy'
    | 'adaptive'
    | 'recipe'
    | 'maxSeconds'
    | 'resume'
  > {
  readonly out: string
  /** A path, a description with its preprocessing, or a Dataset; without it nothing can be promised. */
  readonly data?: string | DataSource
  /** Data of its own for every metric that is reported. */
  readonly evalData?: string | DataSource
  /** Data of its own to calibrate on. */
  readonly calibrationData?: string | DataSource
  /** Data of its own for passes of the recipe that train. */
  readonly trainData?: string | DataSource
}

/**
 * What `pare compress` does, from a program. Writes `out` unless `unmet`. Runs in this thread, which the engine blocks.
 * Throws `E_OPTION` for an option that does not exist or fit, and what the command throws, with options named as here.
 *
 *     const { report, unmet } = await compressFile('model.onnx', { out: 'small.onnx', data: 'test.npz', maxDrop: 0.01 })
 */
export async function compressFile(
  model: string,
  o: CompressFileOptions,
  hooks: Partial<JobHooks> = {}
): Promise<JobResult> {
  if (typeof model !== 'string' || model === '')
    throw new PareError('E_USAGE', 'compressFile takes the path of a model first', { hint: 'compress() takes a Model' })
  const { data, evalData, calibrationData, trainData, ...rest } = compressOptions(o)
  const parts = { data, evaluation: evalData, calibration: calibrationData, train: trainData }
  const given = Object.fromEntries(Object.entries(parts).filter(([, part]) => part !== undefined))
  const line = `compressFile(${JSON.stringify(model)})`
  const job = { command: 'compress', line, model, ...rest, data: given } as Job
  try {
    return await runJob(job, hooks)
  } catch (error) {
    throw asOptions(error)
  }
}
