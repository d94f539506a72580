/** The formats Pare reads and writes; this list is the only one. */
import { PareError } from '../base/errors.ts'
import type { Bytes, Format, Model, WriteOptions, Written } from '../types.ts'
import { onnx } from './onnx/format.ts'
import { text } from './text.ts'
import { likenessOf } from './unread.ts'

export const formats: readonly Format[] = [onnx, text]

/** Bytes at the start of a file that detection looks at. */
const headBytes = 4096

/** Reads a model of any format, told by its content. Throws `E_FORMAT` for anything else. */
export function readModel(bytes: Bytes, o: { external?(name: string): Bytes } = {}): Model {
  if (bytes.length === 0) throw new PareError('E_FORMAT', 'the file is empty')
  const head = bytes.slice(0, Math.min(headBytes, bytes.length))
  const format = formats.find((f) => f.detect(head))
  if (!format) {
    const like = likenessOf(head)
    throw new PareError('E_FORMAT', 'not a model', {
      facts: { ...(like ? { 'looks like': like.kind } : {}), 'formats read': formats.map((f) => f.name).join(', ') },
      ...(like?.hint === undefined ? {} : { hint: like.hint })
    })
  }
  return format.read(bytes, o)
}

/** Writes a model as ONNX. The same model gives the same bytes. */
export function writeModel(model: Model, o: WriteOptions = {}): Written {
  return onnx.write(model, o)
}
