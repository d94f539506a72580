/**
 * Reading alone: it knows neither how formats are written nor what operators do, so that a page that only reads models
 * bundles little.
 */
import { PareError } from '../base/errors.ts'
import type { Bytes, Model } from '../types.ts'
import { onnxReader } from './onnx/reader.ts'
import type { Noted, Reader, ReadOptions } from './types.ts'
import { likenessOf } from './unread.ts'

/** Bytes at the start of a file that detection looks at. */
const headBytes = 4096

export interface ReadModelOptions extends ReadOptions {
  /**
   * By default ONNX alone, without inference of shapes. `formats` reads what the commands read: the text form too, and
   * Softmax of opset 12 and below as one node wherever shapes tell that it is one (`simplify` does the same later).
   */
  readonly formats?: readonly Reader[]
}

/**
 * Reads a model, its format told by its content, with what was left behind. The bytes must not change afterwards: large
 * weights stay in them. Throws `E_FORMAT` for anything else, `E_USAGE` for what is no bytes.
 */
export function readNoted(
  content: Bytes | ArrayBuffer,
  { formats: known = [onnxReader], ...o }: ReadModelOptions = {}
): Noted {
  const bytes = asBytes(content)
  if (bytes.length === 0) throw new PareError('E_FORMAT', 'the file is empty')
  const head = bytes.slice(0, Math.min(headBytes, bytes.length))
  const format = known.find((f) => f.detect(head))
  if (!format) {
    const like = likenessOf(head)
    throw new PareError('E_FORMAT', 'not a model', {
      facts: { ...(like ? { 'looks like': like.kind } : {}), 'formats read': known.map((f) => f.name).join(', ') },
      ...(like?.hint === undefined ? {} : { hint: like.hint })
    })
  }
  return format.read(bytes, { ...o, choices: choicesFor(format, o.choices) })
}

/** The choices, of a format that offers some; it checks them itself. Throws `E_OPTION` where it offers none. */
function choicesFor({ name, readOptions }: Reader, given: ReadOptions['choices'] = {}): Record<string, unknown> {
  const [first] = Object.keys(given)
  if (readOptions || first === undefined) return given
  throw new PareError('E_OPTION', `${name} has no option ${first}`, { where: first })
}

/** The same without the notes. */
export const readModel = (content: Bytes | ArrayBuffer, o: ReadModelOptions = {}): Model => readNoted(content, o).model

function asBytes(content: Bytes | ArrayBuffer): Bytes {
  if (content instanceof ArrayBuffer) return new Uint8Array(content)
  if (typeof (content as Partial<Bytes> | null)?.length === 'number' && typeof content !== 'string') return content
  const kind = content === null ? 'null' : typeof content
  throw new PareError(
    'E_USAGE',
    `a model is read from its bytes, a Uint8Array or an ArrayBuffer, not from this ${kind}`,
    {
      hint:
        typeof content === 'string' ? "load(path) of 'pare/node' opens a file" : 'await it, or take its arrayBuffer()'
    }
  )
}
