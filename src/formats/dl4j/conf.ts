/**
 * Objects of the configuration that stand for a class of DL4J: a layer, a vertex, a preprocessor, an activation. Releases up to
 * 0.9.1 wrap an object in its short name (`{"dense": {…}}`), later ones say the Java class in `@class`.
 */
import { PareError } from '../../base/errors.ts'
import { field, isObject, type Json, type JsonObject } from './json.ts'

/** An object with its class. `kind`: the class's simple name, as `DenseLayer`. */
export interface Conf {
  readonly kind: string
  readonly fields: JsonObject
  /** The layer or vertex, for errors. */
  readonly where: string
  /** The parameters that DL4J says the layer has; absent: it does not say. */
  readonly variables?: readonly string[]
}

const ownPackages = /^org\.(deeplearning4j|nd4j)\./

/** Short names of releases up to 0.9.1; those of vertices are the class's already. */
const oldNames: Readonly<Record<string, string>> = {
  autoEncoder: 'AutoEncoder',
  convolution: 'ConvolutionLayer',
  convolution1d: 'Convolution1DLayer',
  gravesLSTM: 'GravesLSTM',
  gravesBidirectionalLSTM: 'GravesBidirectionalLSTM',
  output: 'OutputLayer',
  CenterLossOutputLayer: 'CenterLossOutputLayer',
  rnnoutput: 'RnnOutputLayer',
  loss: 'LossLayer',
  dense: 'DenseLayer',
  subsampling: 'SubsamplingLayer',
  subsampling1d: 'Subsampling1DLayer',
  batchNormalization: 'BatchNormalization',
  localResponseNormalization: 'LocalResponseNormalization',
  embedding: 'EmbeddingLayer',
  activation: 'ActivationLayer',
  dropout: 'DropoutLayer',
  GlobalPooling: 'GlobalPoolingLayer',
  zeroPadding: 'ZeroPaddingLayer',
  zeroPadding1d: 'ZeroPadding1DLayer',
  cnnToFeedForward: 'CnnToFeedForwardPreProcessor',
  cnnToRnn: 'CnnToRnnPreProcessor',
  composableInput: 'ComposableInputPreProcessor',
  feedForwardToCnn: 'FeedForwardToCnnPreProcessor',
  feedForwardToRnn: 'FeedForwardToRnnPreProcessor',
  rnnToFeedForward: 'RnnToFeedForwardPreProcessor',
  rnnToCnn: 'RnnToCnnPreProcessor'
}

/** Reads an object with its class. Throws `E_FORMAT` for anything else, `E_UNSUPPORTED` for a class that is not DL4J's own. */
export function confOf(json: Json | undefined, where: string, what: string): Conf {
  if (!isObject(json)) throw new PareError('E_FORMAT', `no ${what} in the configuration`, { where })
  const name = field(json, '@class')
  if (typeof name === 'string') {
    if (!ownPackages.test(name))
      throw new PareError('E_UNSUPPORTED', `${what} of a class that is not DL4J's own: ${name}`, {
        where,
        hint: 'what it computes is in Java code, which is never loaded'
      })
    return { kind: simpleName(name), fields: json, where }
  }
  const entries = Object.entries(json)
  const [first] = entries
  if (entries.length !== 1 || !first || !isObject(first[1]))
    throw new PareError('E_FORMAT', `${what} without a class`, { where })
  return { kind: oldNames[first[0]] ?? first[0], fields: first[1], where }
}

const simpleName = (name: string): string => name.slice(Math.max(name.lastIndexOf('.'), name.lastIndexOf('$')) + 1)

/** The object with fields of its class changed, wrapped as it was. */
export function patched(json: Json, fields: Readonly<Record<string, Json>>): Json {
  if (!isObject(json)) return json
  if (field(json, '@class') !== undefined) return { ...json, ...fields }
  return Object.fromEntries(
    Object.entries(json).map(([name, inner]) => [name, { ...(inner as JsonObject), ...fields }])
  )
}

const wrong = (c: Conf, name: string, wanted: string): PareError =>
  new PareError('E_FORMAT', `${name} of ${c.kind} is not ${wanted}`, {
    where: c.where,
    facts: { [name]: JSON.stringify(field(c.fields, name))?.slice(0, 80) ?? 'absent' }
  })

/** Sizes and counts above this are no network's. */
const maxSize = 2 ** 31 - 1

/** A whole number from 0 on. Throws `E_FORMAT`. */
export function whole(c: Conf, name: string, fallback?: number): number {
  const x = field(c.fields, name) ?? fallback
  if (typeof x !== 'number' || !Number.isSafeInteger(x) || x < 0 || x > maxSize) throw wrong(c, name, 'a whole number')
  return x
}

/** A whole number from 1 on: a width. */
export function width(c: Conf, name: string): number {
  const x = whole(c, name)
  if (x === 0) throw wrong(c, name, 'a width of 1 or more')
  return x
}

/** `count` whole numbers, or one that stands for all. Throws `E_FORMAT`. */
export function wholes(c: Conf, name: string, count: number, fallback?: number): readonly number[] {
  const x = field(c.fields, name) ?? fallback
  const all = typeof x === 'number' ? Array(count).fill(x) : x
  if (!Array.isArray(all) || all.length < count) throw wrong(c, name, `${count} whole numbers`)
  const out = all.slice(0, count) as number[]
  if (!out.every((n) => Number.isSafeInteger(n) && n >= 0 && n <= maxSize)) throw wrong(c, name, 'whole numbers')
  return out
}

/** A finite number, which old releases also write as text. Throws `E_FORMAT`. */
export function num(c: Conf, name: string, fallback: number): number {
  const x = field(c.fields, name) ?? fallback
  const value = typeof x === 'string' ? Number(x) : x
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrong(c, name, 'a number')
  return value
}

export function flag(c: Conf, name: string, fallback: boolean): boolean {
  const x = field(c.fields, name) ?? fallback
  if (typeof x !== 'boolean') throw wrong(c, name, 'true or false')
  return x
}

export function text(c: Conf, name: string, fallback: string): string {
  const x = field(c.fields, name) ?? fallback
  if (typeof x !== 'string') throw wrong(c, name, 'a text')
  return x
}

/** The object inside a wrapper such as FrozenLayer. */
export function inner(c: Conf, name: string, what = 'layer'): Conf {
  const made = confOf(field(c.fields, name), c.where, what)
  return c.variables ? { ...made, variables: c.variables } : made
}

/** A class that is not known, named with where it is. */
export const unknown = (c: Conf, what: string): PareError =>
  new PareError('E_UNSUPPORTED', `a ${what} of class ${c.kind}, which cannot be read`, {
    where: c.where,
    hint: 'docs/dl4j.md lists the classes that are read'
  })
