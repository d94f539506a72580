/** The formats Pare reads and writes; the list is here, and every function takes another one. */
import { PareError } from '../base/errors.ts'
import { parseOptions } from '../base/options.ts'
import type { Model } from '../types.ts'
import { c99 } from './c99.ts'
import { dl4j } from './dl4j/format.ts'
import { formatNamed } from './named.ts'
import { onnx } from './onnx/format.ts'
import { text } from './text.ts'
import { tflite } from './tflite/format.ts'
import type { AnyFormat, WritePlace, Written } from './types.ts'
import { wasm } from './wasm.ts'

export { type ReadModelOptions, readModel, readNoted } from './read.ts'

/** Every format. */
export const formats: readonly AnyFormat[] = [onnx, tflite, text, dl4j, wasm, c99]

export interface WriteModelOptions extends WritePlace {
  /** A format or the name of one of Pare's own; by default ONNX. */
  readonly format?: AnyFormat | string
  /** Options of the format, such as ONNX's `opset`. */
  readonly [option: string]: unknown
}

/**
 * Writes a model. The same model gives the same bytes. Throws `E_OPTION` for what the format does not offer, and
 * `E_UNSUPPORTED` where it is only read.
 *
 *     writeModel(model, { format: 'onnx', opset: 13 }).bytes
 */
export function writeModel(
  model: Model,
  { format = 'onnx', externalName, target, ...options }: WriteModelOptions = {}
): Written {
  return writeIn(typeof format === 'string' ? formatFor(format) : format, model, options, {
    ...(externalName === undefined ? {} : { externalName }),
    ...(target === undefined ? {} : { target })
  })
}

/** Writes a model in a format, with options that are checked. */
export function writeIn(format: AnyFormat, model: Model, options: unknown, place: WritePlace = {}): Written {
  if (!format.write)
    throw new PareError('E_UNSUPPORTED', `${format.title} is only read: no model is written in it`, {
      where: format.name
    })
  return format.write(model, parseOptions(format, options), place)
}

/** The format of a name. Throws `E_USAGE` with suggestions. */
export const formatFor = (name: string, known: readonly AnyFormat[] = formats): AnyFormat => formatNamed(name, known)
