/**
 * A request of the Open Inference Protocol (v2) with its binary tensor extension, read against the signature of its model: what comes
 * out can be run. Its body is JSON, or JSON of `jsonBytes` bytes and then the tensors that say `binary_data_size`, in order,
 * little-endian and without gaps; `jsonBytes` 0: nothing but the bytes of the only input.
 */
import { PareError } from '../base/errors.ts'
import { bitsOf, byteLength, elementCount, tensor } from '../ir/tensor.ts'
import type { Dim, Tensor } from '../types.ts'
import { datatypeOf, dtypeNamed } from './datatypes.ts'
import type { Asked, InferRequest, Port, Signature } from './types.ts'
import { fromJson, stringsFrom } from './values.ts'

type Fields = Readonly<Record<string, unknown>>

const bad = (message: string, where?: string): PareError =>
  new PareError('E_REQUEST', message, where === undefined ? {} : { where })

/** No single axis is longer: what multiplies sizes afterwards stays exact. */
const longestAxis = 2 ** 31 - 1

/** `Inference-Header-Content-Length` as a number. Throws `E_REQUEST`. */
export function headerLength(text: string | undefined, bodyBytes: number): number | undefined {
  if (text === undefined) return undefined
  const n = /^\d{1,10}$/.test(text.trim()) ? Number(text) : Number.NaN
  if (!(n <= bodyBytes))
    throw bad(`Inference-Header-Content-Length is ${text.slice(0, 40)}, the body has ${bodyBytes} bytes`)
  return n
}

/**
 * Reads a request. `mostBytes`: what an input may take, said by shape or by data; `read`: its JSON, where that was read already, with
 * lists of numbers as they are or packed. Throws `E_REQUEST`, `E_LIMIT`.
 */
export function readRequest(
  body: Uint8Array,
  jsonBytes: number | undefined,
  signature: Signature,
  mostBytes: number,
  read?: unknown
): InferRequest {
  if (jsonBytes === 0) return rawRequest(body, signature)
  if (body.length === 0) throw bad('the request has no body')
  const json = objectOf(read ?? parsed(body.subarray(0, jsonBytes ?? body.length)), 'the request')
  const parameters = json['parameters'] === undefined ? {} : objectOf(json['parameters'], '"parameters"')
  const rest = { bytes: body, at: jsonBytes ?? body.length }
  const inputs = inputsOf(json['inputs'], rest, signature, mostBytes)
  if (rest.at !== body.length) throw bad(`${body.length - rest.at} bytes follow the last tensor`)
  const id = json['id']
  if (id !== undefined && typeof id !== 'string') throw bad('"id" is no text')
  const timeout = parameters['timeout']
  if (timeout !== undefined && !(Number.isSafeInteger(timeout) && (timeout as number) >= 0))
    throw bad('"timeout" is no number of µs')
  return {
    ...(id === undefined ? {} : { id }),
    inputs,
    outputs: outputsOf(json['outputs'], parameters['binary_data_output'] === true, signature),
    ...(timeout ? { timeoutMs: (timeout as number) / 1000 } : {})
  }
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw notJson(cause)
  }
}

/** Neither the text nor the engine's words about it, which quote it, go back: they may be anything. */
export const notJson = (cause?: unknown): PareError =>
  new PareError('E_REQUEST', 'the body is not JSON', {
    hint: 'binary tensors need the header Inference-Header-Content-Length',
    ...(cause === undefined ? {} : { cause })
  })

function objectOf(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bad(`${what} is no JSON object`)
  return value as Fields
}

/** Any value of JSON as a word of a message. An object of a stranger's is never asked for its text. */
const word = (value: unknown): string =>
  (typeof value === 'object' ? (value === null ? 'null' : 'an object') : `${value}`).slice(0, 200)

/** The same, with a text in quotes: `"12"` is told from 12. */
const quoted = (value: unknown): string => (typeof value === 'string' ? `"${word(value)}"` : word(value))

interface Rest {
  readonly bytes: Uint8Array
  at: number
}

function inputsOf(list: unknown, rest: Rest, { inputs }: Signature, mostBytes: number): ReadonlyMap<string, Tensor> {
  if (!Array.isArray(list)) throw bad('"inputs" is no list')
  const found = new Map<string, Tensor>()
  for (const one of list) {
    const fields = objectOf(one, 'an input')
    const name = word(fields['name'])
    const port = inputs.find((p) => p.name === name)
    if (!port) throw bad(`the model has no input ${name}; its inputs are ${inputs.map((p) => p.name).join(', ')}`)
    if (found.has(name)) throw bad('the input is given twice', name)
    found.set(name, inputOf(fields, port, rest, mostBytes))
  }
  const missing = inputs.filter((p) => !found.has(p.name))
  if (missing.length) throw bad(`the request lacks ${missing.map((p) => p.name).join(', ')}`)
  return found
}

function inputOf(fields: Fields, port: Port, rest: Rest, mostBytes: number): Tensor {
  const { name, dtype } = port
  const datatype = word(fields['datatype'])
  if (dtypeNamed(datatype) !== dtype) throw bad(`the model takes ${datatypeOf(dtype)}, not ${datatype}`, name)
  const shape = shapeOf(fields['shape'], port, mostBytes)
  const parameters = fields['parameters'] === undefined ? {} : objectOf(fields['parameters'], '"parameters"')
  const size = parameters['binary_data_size']
  if (size === undefined) return fromJson(fields['data'], dtype, shape, name)
  if (fields['data'] !== undefined) throw bad('the input has both "data" and "binary_data_size"', name)
  const left = rest.bytes.length - rest.at
  if (!Number.isSafeInteger(size) || (size as number) < 0)
    throw bad(`"binary_data_size" is ${quoted(size)}, where a whole number of bytes is needed`, name)
  if ((size as number) > left) throw bad(`"binary_data_size" is ${word(size)}, and ${left} bytes are left`, name)
  const bytes = rest.bytes.subarray(rest.at, rest.at + (size as number))
  rest.at += size as number
  return fromBytes(bytes, port, shape)
}

function fromBytes(bytes: Uint8Array, { name, dtype }: Port, shape: readonly number[]): Tensor {
  if (dtype === 'string') {
    if (elementCount(shape) > bytes.length) throw bad(`${bytes.length} bytes for shape [${shape.join(', ')}]`, name)
    return tensor('string', shape, stringsFrom(bytes, elementCount(shape), name))
  }
  const wanted = byteLength(dtype, elementCount(shape))
  if (bytes.length !== wanted)
    throw bad(
      `${bytes.length} bytes for shape [${shape.join(', ')}] of ${datatypeOf(dtype)}, which takes ${wanted}`,
      name
    )
  return { dtype, shape, bytes }
}

/** A shape that the model takes. Sizes that the model leaves free are whatever the client says, within `mostBytes`. */
function shapeOf(value: unknown, { name, dtype, shape }: Port, mostBytes: number): readonly number[] {
  const isShape =
    Array.isArray(value) &&
    value.length <= 32 &&
    value.every((d) => Number.isInteger(d) && (d as number) >= 0 && (d as number) <= longestAxis)
  if (!isShape) throw bad('"shape" is no list of sizes', name)
  const given = value as readonly number[]
  const fits =
    shape === undefined || (shape.length === given.length && shape.every((d, i) => isFree(d) || d === given[i]))
  if (!fits) throw bad(`the model takes shape [${shape.map(sizeWord).join(', ')}], not [${given.join(', ')}]`, name)
  const atLeast = given.reduce((n, d) => n * Math.max(1, d), Math.max(8, bitsOf(dtype)) / 8)
  if (atLeast > mostBytes)
    throw new PareError(
      'E_LIMIT',
      `shape [${given.join(', ')}] is beyond the ${mostBytes} bytes that an input may have`,
      {
        where: name
      }
    )
  return given
}

const isFree = (d: Dim): boolean => typeof d === 'string'
/** A size as the protocol says it. */
export const sizeWord = (d: Dim): number => (typeof d === 'string' ? -1 : d)

function outputsOf(list: unknown, isBinary: boolean, { outputs }: Signature): readonly Asked[] {
  if (list === undefined) return outputs.map(({ name }) => ({ name, isBinary }))
  if (!Array.isArray(list)) throw bad('"outputs" is no list')
  const asked = list.map((one): Asked => {
    const fields = objectOf(one, 'an output')
    const name = word(fields['name'])
    if (!outputs.some((p) => p.name === name))
      throw bad(`the model has no output ${name}; its outputs are ${outputs.map((p) => p.name).join(', ')}`)
    const parameters = fields['parameters'] === undefined ? {} : objectOf(fields['parameters'], '"parameters"')
    if (parameters['classification'] !== undefined)
      throw new PareError('E_UNSUPPORTED', 'classification of outputs is not done here', { where: name })
    const own = parameters['binary_data']
    return { name, isBinary: own === undefined ? isBinary : own === true }
  })
  if (new Set(asked.map((a) => a.name)).size !== asked.length) throw bad('an output is asked for twice')
  return asked.length ? asked : outputs.map(({ name }) => ({ name, isBinary }))
}

/** The bytes of the only input: one sample, its one free size found by their number. */
function rawRequest(body: Uint8Array, { inputs, outputs }: Signature): InferRequest {
  const [port] = inputs
  if (!port || inputs.length !== 1 || !port.shape) throw bad('bytes without JSON are for models of one input')
  const asked = outputs.map(({ name }) => ({ name, isBinary: true }))
  const sizes = port.shape.map((d, i) => (i === 0 && typeof d === 'string' ? 1 : d))
  const free = sizes.flatMap((d, i) => (typeof d === 'string' ? [i] : []))
  if (free.length > 1) throw bad('bytes without JSON are for inputs of one free size beside the batch', port.name)
  const known = sizes.reduce<number>((n, d) => (typeof d === 'number' ? n * d : n), 1)
  const count = port.dtype === 'string' ? 1 : (body.length * 8) / bitsOf(port.dtype)
  const shape = sizes.map((d) => (typeof d === 'number' ? d : known === 0 ? 0 : count / known))
  if (!shape.every(Number.isInteger)) throw bad(`${body.length} bytes do not fill whole rows`, port.name)
  return { inputs: new Map([[port.name, fromBytes(body, port, shape)]]), outputs: asked }
}
