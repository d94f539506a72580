/** An archive → Model. */
import { PareError } from '../../base/errors.ts'
import { defaultOpset } from '../../ir/build.ts'
import { bytesOf, tensorOf } from '../../ir/tensor.ts'
import type { Bytes, Model, Tensor } from '../../types.ts'
import type { Noted } from '../types.ts'
import { type Archive, openArchive } from './archive.ts'
import { type FlatArray, readArray } from './arrays.ts'
import { type Built, build } from './build.ts'
import { type Facts, originOf } from './facts.ts'
import { isObject, type Json, type JsonObject, parseJson } from './json.ts'
import type { Supply } from './net.ts'
import { networkOf } from './network.ts'
import { type Normalizer, readNormalizer } from './normalizer.ts'
import { shapeOfPiece, turn } from './pieces.ts'

export interface ReadChoices {
  readonly normalizer: 'none' | 'graph'
  /** Height and width of images, where the archive leaves a choice. */
  readonly imageSize?: string | undefined
  /** The order of weights of one-dimensional convolutions: of releases from M1 on, or of older ones. */
  readonly conv1d: 'auto' | 'M1' | 'beta7'
}

/** Reads a network. Throws `E_FORMAT` where the archive is damaged, `E_UNSUPPORTED` for classes that are not known. */
export function readDl4j(bytes: Bytes, o: ReadChoices): Noted {
  const archive = openArchive(bytes)
  const json = parseJson(archive.configuration, 'configuration.json')
  const network = networkOf(json)
  const flat: FlatArray =
    archive.coefficients.length === 0
      ? { values: new Float32Array(0), type: 'FLOAT', rank: 1, dialect: 'MIXED_DATA_TYPES', end: 0 }
      : readArray(archive.coefficients, 0, 'coefficients.bin')
  const order = conv1dOrder(json, flat.rank, o.conv1d)
  const supply: Supply = (piece): Tensor => {
    const count = piece.view.reduce((n, d) => n * d, 1)
    if (piece.at + count > flat.values.length)
      throw new PareError(
        'E_FORMAT',
        `coefficients.bin holds ${flat.values.length} numbers, fewer than its layers need`,
        {
          where: piece.id
        }
      )
    const values = turn(flat.values.subarray(piece.at, piece.at + count), piece)
    return tensorOf('float32', shapeOfPiece(piece), bytesOf(values))
  }
  const normalizer = archive.normalizer ? readNormalizer(archive.normalizer) : undefined
  const facts: Facts = {
    ...{ type: flat.type, rank: flat.rank, dialect: flat.dialect, turned1d: order.turned },
    ...(o.imageSize === undefined ? {} : { sizes: sizesOf(o.imageSize) }),
    ...(o.normalizer === 'graph' && normalizer ? { normalizer: known(normalizer) } : {})
  }
  const built = build(network, supply, facts)
  if (built.count !== flat.values.length)
    throw new PareError(
      'E_FORMAT',
      `coefficients.bin holds ${flat.values.length} numbers, its layers need ${built.count}`
    )
  const model: Model = {
    graph: built.graph,
    opset: defaultOpset,
    domains: {},
    meta: {},
    origin: originOf(archive, flat, built, facts)
  }
  return { model, notes: [...built.notes, ...notesOn(json, archive, flat, built, normalizer, o, order.isGuess)] }
}

function known(n: ReturnType<typeof readNormalizer>): Normalizer {
  if (n.shift) return n
  throw new PareError('E_UNSUPPORTED', `a normalizer of type ${n.type}`, {
    where: 'normalizer.bin',
    hint: '--normalizer none leaves it out: inputs are then normalized by whoever feeds the model'
  })
}

/** What the model says otherwise than the archive, or not at all. */
function notesOn(
  json: JsonObject,
  archive: Archive,
  flat: FlatArray,
  built: Built,
  normalizer: ReturnType<typeof readNormalizer> | undefined,
  o: ReadChoices,
  isGuess: boolean
): readonly string[] {
  const left = [...trainingParts(json), ...built.unused.map((u) => u.key), ...archive.others]
  return [
    ...(left.length > 0 ? [`left behind on reading: ${left.join(', ')}`] : []),
    ...(flat.type === 'FLOAT' ? [] : [`the archive's numbers are ${flat.type}; the model holds them as float32`]),
    ...(normalizer && o.normalizer === 'none'
      ? [
          `the archive's normalizer (${normalizer.type}) is not in the model: whoever feeds it normalizes (--normalizer graph puts it in)`
        ]
      : []),
    ...(isGuess
      ? [
          'weights of Convolution1D were read in the order of releases up to beta7, which cannot be told from that of M1 and M1.1 (--conv1d M1)'
        ]
      : [])
  ]
}

/** What of the configuration is training's alone. */
function trainingParts(json: JsonObject): readonly string[] {
  const found = new Map<string, number>()
  const add = (what: string): unknown => found.set(what, (found.get(what) ?? 0) + 1)
  const walk = (x: Json): void => {
    if (Array.isArray(x)) x.forEach(walk)
    else if (isObject(x))
      for (const [key, inner] of Object.entries(x)) {
        if (key === 'idropout' && inner !== null) add('dropout')
        else if (key === 'dropOut' && typeof inner === 'number' && inner > 0) add('dropout')
        else if (key === 'iupdater' && isObject(inner)) add('updater')
        else if (['lossFn', 'lossFunction'].includes(key) && isObject(inner)) add('loss')
        else if (key === 'regularization' && Array.isArray(inner) && inner.length > 0) add('regularization')
        else walk(inner)
      }
  }
  walk(json)
  return [...found].map(([what, n]) => `${what} (${n})`)
}

/**
 * The order of one-dimensional convolutions' weights. Releases from M2 on write vectors of rank 1. M1 and M1.1 compute as those do
 * and write as older ones: what tells them is causal convolutions, which older ones cannot run, and a layout in the output layer.
 */
function conv1dOrder(
  json: JsonObject,
  rank: number,
  choice: ReadChoices['conv1d']
): { turned: boolean; isGuess: boolean } {
  if (choice !== 'auto') return { turned: choice === 'M1', isGuess: false }
  if (rank === 1) return { turned: true, isGuess: false }
  const text = JSON.stringify(json)
  const isM1 = /"convolutionMode":"Causal"|"timeDistributedFormat":"N|"mergeAxis"/.test(text)
  return { turned: isM1, isGuess: /onvolution1d/i.test(text) }
}

function sizesOf(text: string): { H: number; W: number; D?: number } {
  const all = text.split('x').map(Number)
  const [w = 0, h = 0, d] = [...all].reverse()
  if (all.length < 2 || all.length > 3 || !all.every((n) => Number.isSafeInteger(n) && n > 0 && n < 2 ** 16))
    throw new PareError('E_OPTION', `an image size is two numbers such as 28x28, not ${text}`, { where: 'imageSize' })
  return { H: h, W: w, ...(d === undefined ? {} : { D: d }) }
}
