/** The runtimes that targets name, as far as they are installed here. */

import { compiledRuntime } from '../runtime/compiled.ts'
import type { Runner, Source } from '../runtime/types.ts'
import type { Target } from '../targets/types.ts'
import type { Model } from '../types.ts'
import { compiledFiles } from './compiled-runner.ts'
import { liteRtRunner } from './litert-runner.ts'
import { nodeRunner } from './runner.ts'
import { webRunner } from './web-runner.ts'

/** By the name that targets give them; `undefined` where the package is not installed. */
const runtimes: Readonly<Record<string, () => Promise<Runner | undefined>>> = {
  'onnxruntime-node': async () => nodeRunner(),
  'onnxruntime-web': () => webRunner(),
  '@litertjs/core': async () => liteRtRunner(),
  [compiledRuntime]: async () => compiledFiles()
}

/** What folds, calibrates and trains, and what measures. */
export interface Runners {
  readonly engine: Runner
  /** The target's own runtime; absent where it is not here. */
  readonly measured?: Runner
}

/** The engine of Node, and the runtime that a target is measured in. Throws `E_UNSUPPORTED` where that is there and does not load. */
export async function runnersFor(target: Pick<Target, 'runtime'>): Promise<Runners> {
  const engine = nodeRunner()
  const measured = target.runtime === engine.name ? engine : await runtimes[target.runtime]?.()
  return { engine, ...(measured ? { measured } : {}) }
}

/** Of the targets that commands know, that of a file: the job's own where it takes files of that format, else the first that does. */
export const targetOfModel = (model: Pick<Model, 'origin'>, own: Target, targets: readonly Target[]): Target =>
  own.format === model.origin?.format ? own : (targets.find((t) => t.format === model.origin?.format) ?? own)

/** What opens models that are scored. */
export const scorer = ({ engine, measured }: Runners): Runner => measured ?? engine

/** A file, and the model that was read from it. */
export interface ModelFile {
  readonly path: string
  readonly model: Model
}

/** What a runtime is given to open: the file itself where it takes files of that format, else the model. */
export const sourceOf = (runner: Runner, { path, model }: ModelFile): Source =>
  opensFiles(runner, model.origin?.format) ? { path } : model

/** Does a runtime open files of a format as they are? */
export const opensFiles = (runner: Runner, format: string | undefined): boolean =>
  format !== undefined && runner.can.formats.includes(format)

/** Threads that what is measured runs on. */
export const threadsOf = ({ measured }: Pick<Runners, 'measured'>, asked: number): number =>
  Math.min(asked, measured?.can.threads ?? asked)

/** What is to be said where fewer threads run than were asked for. */
export function threadNotes(runners: Pick<Runners, 'measured'>, asked: number): string[] {
  const ran = threadsOf(runners, asked)
  const { measured } = runners
  if (ran === asked || !measured) return []
  const threads = ran === 1 ? '1 thread' : `${ran} threads`
  return [`${asked} threads were asked for; ${measured.name} computes on ${threads}, and that is what was measured`]
}

/** What is to be said where the target's runtime is not here. */
export function runtimeNotes({ engine, measured }: Runners, target: Pick<Target, 'name' | 'runtime'>): string[] {
  if (measured) return []
  const hint = target.runtime in runtimes ? `: npm install ${target.runtime}` : ''
  return [
    `${target.runtime}, in which models for ${target.name} run, is not here${hint}; nothing was timed, and the scores are those of ${engine.name}`
  ]
}
