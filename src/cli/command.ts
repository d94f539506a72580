/** A command of the program: its words and flags as data, and what it does. */
import type { Job, JobHooks, JobResult } from '../node/job.ts'
import type { Places } from '../node/places.ts'
import type { FormatCard } from './cards.ts'
import type { Flag, Parsed, Positional } from './flags.ts'

/** What a command is given of the process around it. */
export interface Surroundings {
  /** The words of the command line after `pare`. */
  readonly argv: readonly string[]
  readonly out: NodeJS.WriteStream
  readonly err: NodeJS.WriteStream
  readonly signal: AbortSignal
  /** From now on interrupts are the command's own: `signal` tells of none. */
  takeSignals(): void
  places(): Promise<Places<FormatCard>>
  /** Options of formats that were given; none where the command writes no model. */
  readonly write: Readonly<Record<string, unknown>>
  /** What was chosen of how formats are read. */
  readonly read: Readonly<Record<string, unknown>>
  /** Runs a job: the program does in a thread of its own. */
  start(job: Job, hooks: JobHooks): Promise<JobResult>
}

/** One command. */
export interface Command {
  readonly name: string
  readonly summary: string
  readonly positionals: readonly Positional[]
  readonly flags: readonly Flag[]
  /** It reads a model that the user names: how formats are read are flags of it too. */
  readonly opens?: true
  /** It writes a model: options of formats are flags of it too. */
  readonly writes?: true
  readonly examples?: readonly string[]
  readonly more?: string
  /** Exit status. */
  run(given: Parsed, at: Surroundings): Promise<number>
}

/** A flag's value of a known type. */
export function text(given: Parsed, name: string): string | undefined {
  return given.values.get(name) as string | undefined
}
/** The same for numbers. */
export function number(given: Parsed, name: string): number | undefined {
  return given.values.get(name) as number | undefined
}
/** Was a boolean flag given? */
export function isOn(given: Parsed, name: string): boolean {
  return given.values.get(name) === true
}
