/**
 * Texts as samples. A tokenizer turns a text, or a pair of texts, into token ids; a model takes them as integers of [N, T],
 * with a mask, segments and positions of the same shape where it asks for them. Texts differ in length. Where the model
 * leaves T free, a run takes texts of one length, so that nothing is padded: the result of a text does not depend on its
 * neighbours. Where the model fixes T, texts are cut and padded to it.
 */
import { PareError } from '../base/errors.ts'
import { isInteger, tensor } from '../ir/tensor.ts'
import type { Batch, Dataset, Tensor } from '../types.ts'
import { alike, chunks, type LabelledDataset } from './arrays.ts'
import type { ModelInput } from './fit.ts'
import { checkLabels, classNamed, noLabel } from './labels.ts'

/** A text, or two that belong together. `line`: where it stands in its file, from 1. */
export interface Text {
  readonly text: string
  readonly pair?: string
  /** A class index, or the name of a class. */
  readonly label?: number | string
  readonly line: number
}

/** Token ids of a text, and for each the segment that it belongs to: 0, or 1 in the second of a pair. */
export interface Tokens {
  readonly ids: readonly number[]
  readonly segments: readonly number[]
}

/** A tokenizer. */
export interface Encoder {
  /** The file that it was read from, and what kind it is. */
  readonly title: string
  /** The token that fills up a text. */
  readonly padding: number
  readonly padsLeft: boolean
  readonly marks: NonNullable<Dataset['marks']>
  /** Tokens of a text at most, with those that mark its ends; and who says so. */
  readonly most: { readonly tokens: number; readonly by: string }
  /** Of all that decides about the ids. */
  readonly sha256: string
  /** The tokens of a text, cut to at most `most`. */
  encode(text: string, pair: string | undefined, most: number): Tokens
}

/** How texts are read. */
export interface TextOptions {
  /** File name for messages. */
  readonly where: string
  readonly classNames?: readonly string[] | undefined
  readonly classes?: number | undefined
  readonly partly?: boolean | undefined
  readonly sha256?: string | undefined
}

type Role = 'ids' | 'mask' | 'segments' | 'positions'

const roles: readonly (readonly [Role, RegExp])[] = [
  ['segments', /token_?type|segment/i],
  ['mask', /mask/i],
  ['positions', /position/i],
  ['ids', /ids|tokens?$|^input$/i]
]

/** What an input takes of a text; `undefined` where it takes none. */
function roleOf({ name, dtype, shape }: ModelInput, isOnly: boolean): Role | undefined {
  const isRow = shape === undefined || shape.length === 2 || shape.length === 1
  if (!isRow) return undefined
  const role = roles.find(([, pattern]) => pattern.test(name))?.[0]
  if (role === 'mask') return role
  if (dtype !== undefined && !isInteger(dtype)) return undefined
  return role ?? (isOnly ? 'ids' : undefined)
}

/** Roles of all inputs. Throws `E_DATA_SHAPE` where the model takes no texts. */
export function textInputs(inputs: readonly ModelInput[], where: string): ReadonlyMap<string, Role> {
  const found = inputs.map((input) => [input, roleOf(input, inputs.length === 1)] as const)
  const other = found.find(([, role]) => role === undefined)?.[0]
  const hasIds = found.some(([, role]) => role === 'ids')
  if (hasIds && !other) return new Map(found.map(([input, role]) => [input.name, role as Role]))
  const spelled = inputs.map((i) => `${i.name}: ${i.dtype ?? '?'}[${i.shape?.join(', ') ?? ''}]`).join(', ')
  throw new PareError(
    'E_DATA_SHAPE',
    hasIds ? `texts give nothing for the model's input ${other?.name}` : 'the model takes no texts',
    {
      where,
      facts: { model: spelled },
      hint: 'texts serve integer inputs of [N, T] named like input_ids, attention_mask, token_type_ids, position_ids; give other data as .npz or a module'
    }
  )
}

/** Texts of a file: a line each, or a JSON value a line. Throws `E_DATA` and `E_LABELS` with the line. */
export function parseTexts(content: string, isJson: boolean, where: string): readonly Text[] {
  const lines = content.replace(/^\uFEFF/, '').split(/\r?\n/)
  const texts = lines.flatMap((line, i) => {
    if (line.trim() === '') return []
    return [isJson ? jsonLine(line, i + 1, where) : { text: line, line: i + 1 }]
  })
  if (texts.length === 0)
    throw new PareError('E_DATA', 'no texts in the file', { where, hint: isJson ? jsonHint : 'one text a line' })
  return texts
}

const jsonHint = '{"text": "…"} a line, with text_pair and label where there are some'

function jsonLine(source: string, line: number, where: string): Text {
  const bad = (message: string, cause?: unknown): PareError =>
    new PareError('E_DATA', `line ${line} ${message}`, { where, hint: jsonHint, ...(cause ? { cause } : {}) })
  let value: unknown
  try {
    value = JSON.parse(source)
  } catch (cause) {
    throw bad('is not JSON', cause)
  }
  if (typeof value === 'string') return { text: value, line }
  const fields = typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
  const { text, text_pair: pair, label } = fields
  if (typeof text !== 'string') throw bad('has no text')
  if (pair !== undefined && pair !== null && typeof pair !== 'string') throw bad('has a text_pair that is no text')
  const isLabel = typeof label === 'string' || (typeof label === 'number' && Number.isSafeInteger(label))
  if (label !== undefined && label !== null && !isLabel) throw bad('has a label that is neither a number nor a name')
  return {
    ...{ text, line },
    ...(typeof pair === 'string' ? { pair } : {}),
    ...(isLabel ? { label: label as number | string } : {})
  }
}

/** Class indices of the texts; `undefined` where none has a label. Throws `E_LABELS` with the line. */
function labelsOf(texts: readonly Text[], o: TextOptions): readonly number[] | undefined {
  if (texts.every((t) => t.label === undefined)) return undefined
  const labels = texts.map(({ label, line }) => {
    const where = `${o.where}, line ${line}`
    if (label === undefined && !o.partly)
      throw new PareError('E_LABELS', 'a text without a label among texts with labels', { where })
    if (typeof label !== 'string') return label ?? noLabel
    if (!o.classNames)
      throw new PareError('E_LABELS', `the label '${label}' is a name, and nothing lists the classes`, {
        where,
        hint: '--labels FILE with the names of the classes in their order'
      })
    return classNamed(label, o.classNames, where)
  })
  return checkLabels(labels, o.classes, o.where, o.partly)
}

/** A dataset of texts for a model. Throws `E_DATA`, `E_DATA_SHAPE`, `E_LABELS`. */
export function textDataset(
  texts: readonly Text[],
  encoder: Encoder,
  inputs: readonly ModelInput[],
  o: TextOptions
): LabelledDataset {
  const taken = textInputs(inputs, o.where)
  const fixed = fixedLength(inputs, o.where)
  const most = fixed ?? encoder.most.tokens
  const labels = labelsOf(texts, o)
  const all = texts.map(({ text, pair }) => encoder.encode(text, pair, most))
  const empty = all.findIndex((t) => t.ids.length === 0)
  if (empty >= 0)
    throw new PareError('E_DATA', 'the tokenizer gives no token for a text', {
      where: `${o.where}, line ${texts[empty]?.line}`
    })
  const own = all.map((t) => t.ids.length)
  const cut = own.filter((n) => n === most).length
  const lengths = fixed === undefined ? own : own.map(() => fixed)
  const width = (picked: readonly number[]): number => lengths[picked[0] ?? 0] as number
  return {
    size: texts.length,
    labelled: labels !== undefined,
    lengths,
    marks: encoder.marks,
    ...(labels && { labels }),
    ...(o.sha256 === undefined ? {} : { sha256: o.sha256 }),
    notes: [textNote(own, { encoder, fixed, most, cut })],
    async *batches({ batch, indices }) {
      for (const chunk of chunks(texts.length, batch, indices))
        for (const picked of alike(chunk, lengths)) yield batchOf(picked, width(picked))
    }
  }

  function batchOf(picked: readonly number[], length: number): Batch {
    const rows = picked.map((i) => all[i] as Tokens)
    const column = ({ name, dtype = 'int64' }: ModelInput): Tensor =>
      tensor(
        dtype,
        [picked.length, length],
        rows.flatMap((row) => padded(row, taken.get(name) as Role, length, encoder))
      )
    return {
      n: picked.length,
      inputs: Object.fromEntries(inputs.map((input) => [input.name, column(input)])),
      ...(labels && { labels: picked.map((i) => labels[i] as number) })
    }
  }
}

/** What one input is given of a text, at the length of the run. */
function padded({ ids, segments }: Tokens, role: Role, length: number, { padding, padsLeft }: Encoder): number[] {
  const values = {
    ids: () => [...ids],
    mask: () => ids.map(() => 1),
    segments: () => [...segments],
    positions: () => ids.map((_, i) => i)
  }[role]()
  const rest = new Array<number>(length - ids.length).fill(role === 'ids' ? padding : 0)
  return padsLeft ? [...rest, ...values] : [...values, ...rest]
}

/** Tokens that the model prescribes; `undefined` where it leaves them free. */
function fixedLength(inputs: readonly ModelInput[], where: string): number | undefined {
  const fixed = new Set(inputs.flatMap(({ shape }) => (typeof shape?.at(-1) === 'number' ? [shape.at(-1)] : [])))
  const [length] = fixed
  if (fixed.size > 1)
    throw new PareError('E_DATA_SHAPE', `the inputs fix different numbers of tokens: ${[...fixed].join(', ')}`, {
      where
    })
  return typeof length === 'number' ? length : undefined
}

interface Noted {
  readonly encoder: Encoder
  readonly fixed: number | undefined
  readonly most: number
  readonly cut: number
}

function textNote(lengths: readonly number[], { encoder, fixed, most, cut }: Noted): string {
  const sorted = [...lengths].sort((a, b) => a - b)
  const middle = sorted[Math.floor((sorted.length - 1) / 2)]
  const how =
    fixed === undefined
      ? 'each runs at its own length, nothing is padded; times and work are those of the median length'
      : `padded to the ${fixed} that the model fixes`
  const limit = fixed === undefined ? `at most ${most}, by ${encoder.most.by}` : `at most ${fixed}`
  return `texts are ${sorted[0]} to ${sorted.at(-1)} tokens long, median ${middle} (${encoder.title}; ${limit}${cut > 0 ? `, which ${cut} of ${lengths.length} reach` : ''}); ${how}`
}
