import type { DataDescription } from '../data/description.ts'
import type { Job, JobHooks, JobResult } from './job.ts'
import { runJob } from './jobs.ts'

export interface CompressFileOptions
  extends Pick<
    Job,
    'force' | 'target' | 'seed' | 'write' | 'threads' | 'metric' | 'judged' | 'maxDrop' | 'objective' | 'recipe'
  > {
  readonly out: string
  /** A path, or a description with its preprocessing; without it nothing can be promised. */
  readonly data?: string | DataDescription
}

/**
 * What `pare compress` does, from a program. Writes `out` unless `unmet`. Runs in this thread, which the engine blocks.
 *
 *     const { report, unmet } = await compressFile('model.onnx', { out: 'small.onnx', data: 'test.npz', maxDrop: 0.01 })
 */
export function compressFile(model: string, o: CompressFileOptions, hooks: Partial<JobHooks> = {}): Promise<JobResult> {
  const { data, ...rest } = o
  const described = typeof data === 'string' ? { path: data } : data
  return runJob(
    {
      command: 'compress',
      line: `compressFile(${JSON.stringify(model)})`,
      model,
      ...rest,
      ...(described ? { data: { data: described } } : {})
    },
    hooks
  )
}
