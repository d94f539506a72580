/** Formats: how the bytes of a file become a Model, and a Model bytes. Types only. */
import type { ZodType } from 'zod'
import type { Tuning } from '../compile/tune.ts'
import type { FileOperator, Target } from '../targets/types.ts'
import type { Bytes, Model } from '../types.ts'

/** External weight data that goes beside a model file: its name (relative to the model's folder) and its bytes in order. */
export interface ExternalFile {
  readonly name: string
  readonly parts: readonly Bytes[]
}

/** What a format is told beside its own options when it writes. */
export interface WritePlace {
  /** Put weights into an external file of this name. Absent: only where they do not fit inside, under a name of the format's own. */
  readonly externalName?: string
  /** Where the model will live: what the format can choose, it chooses so that the target takes it. */
  readonly target?: Target
  /** What was measured of how its files are made best (`Format.tune`), by what it was measured of. */
  readonly tunings?: Readonly<Record<string, Tuning>>
}

export interface Written {
  /** The file's content in order; weights are not copied. */
  readonly parts: readonly Bytes[]
  /** The same in one piece, put together when asked for; a part of a `Blob` as it is. */
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly external?: ExternalFile
  /** What is other than in the model, or worth knowing of the file. */
  readonly notes?: readonly string[]
}

/** A model as it was read. `notes`: what of the file was left behind or not understood. */
export interface Noted {
  readonly model: Model
  readonly notes: readonly string[]
}

export interface ReadOptions {
  /** Gives the bytes of a file beside the model, checked by the caller. */
  external?(name: string): Bytes
  /** What was chosen of the format's `readOptions`. */
  readonly choices?: Readonly<Record<string, unknown>>
}

/** How a format is read. */
export interface Reader {
  /** As targets, reports and `Origin` name it. */
  readonly name: string
  /** As people write it, such as `ONNX`. */
  readonly title: string
  /** Endings of its files, with the dot; outputs get the first. */
  readonly extensions: readonly [string, ...string[]]
  /** Its files tell what the integers of inputs and outputs stand for: data is given to such models as numbers. */
  readonly numbers?: true
  /** Looks at the first bytes of the content only. */
  detect(head: Uint8Array): boolean
  /** What can be chosen when a model is read; flags, help and checks come from it. Absent: nothing. */
  readonly readOptions?: ZodType
  read(bytes: Bytes, o?: ReadOptions): Noted
}

/** Bytes ⇄ Model. */
export interface Format<O = never> extends Reader {
  /** Its files hold no weights: what is read from one has yet to be trained. */
  readonly weightless?: true
  /** Passes that `convert` applies first to a model of another format: it has fewer operators, and knows them joined. */
  readonly after?: readonly string[]
  /** Its files are not read back, as source code is not. */
  readonly unread?: true
  /** What can be chosen when a model is written in it; flags, help and checks come from it. */
  readonly options: ZodType<O>
  /** The model with its constants held as this format's files hold them; absent: as they are. */
  spelled?(model: Model): Model
  /** The operators of a file's main graph in order, in the words that targets name them in; absent: those of the Model. */
  operators?(bytes: Bytes): readonly FileOperator[]
  /** Absent: this format is only read. */
  write?(model: Model, options: O, place?: WritePlace): Written
  /** Measures in the engine at hand how its files are made best, but for what is known; absent: there are no ways to choose from. */
  tune?(model: Model, known: Readonly<Record<string, Tuning>>): Readonly<Record<string, Tuning>>
}

/** A format whatever its options are; what lists hold. */
export type AnyFormat = Format<unknown>

/** The formats and targets that commands know. An argument of every job, so that others can be added to Pare's own. */
export interface Catalog {
  readonly formats: readonly AnyFormat[]
  /** The first is taken where nothing names a target. */
  readonly targets: readonly Target[]
}
