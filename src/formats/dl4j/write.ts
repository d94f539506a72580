/**
 * Model → archive: what was read from one and changed in its numbers or widths. The configuration is that of the archive with the
 * widths of the model's constants; the network that it says is built of those constants and must be the model, node by node. So
 * what DL4J cannot say is never written, and what is written reads as the very same model.
 */
import { zipSync } from 'fflate'
import { concat } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { fromBfloat16, fromFloat16, toBfloat16, toFloat16 } from '../../base/float.ts'
import { elementCount, toFloats } from '../../ir/tensor.ts'
import type { Model, Tensor, Value } from '../../types.ts'
import type { Written } from '../types.ts'
import { coefficientsName, configurationName, normalizerName } from './archive.ts'
import { type Numbers, writeArray } from './arrays.ts'
import { type Built, build } from './build.ts'
import { patched } from './conf.ts'
import { type Facts, factsOf, formatName } from './facts.ts'
import { field, isObject, type Json, type JsonObject, keyFor, parseJson, printJson } from './json.ts'
import { layerOf, layersOf } from './layers/index.ts'
import type { Fields } from './layers/types.ts'
import { type Network, networkOf, type Path } from './network.ts'
import { type Piece, shapeOfPiece, turnBack } from './pieces.ts'
import { difference } from './same.ts'

const instead = 'write ONNX (--out NAME.onnx), which ONNX Runtime for Java runs: docs/java.md'

/** Throws `E_UNSUPPORTED` by layer or node for what an archive cannot say. */
export function writeDl4j(model: Model): Written {
  const { parts } = model.origin ?? {}
  const configuration = parts?.[configurationName]
  if (model.origin?.format !== formatName || !parts || !configuration)
    throw new PareError('E_UNSUPPORTED', 'only a model that was read from an archive of DL4J is written as one', {
      hint: instead
    })
  const facts = factsOf(model)
  const { json, built } = rebuilt(parseJson(new TextDecoder().decode(configuration), configurationName), model, facts)
  refuseDifference(built, model)
  const flat = flatOf(built, parts)
  const type = typeFor(flat, facts.type)
  const entries = {
    [configurationName]: new TextEncoder().encode(printJson(type === facts.type ? json : ofType(json, type))),
    [coefficientsName]: writeArray(flat, type, facts.rank, facts.dialect),
    ...(parts[normalizerName] ? { [normalizerName]: parts[normalizerName] } : {})
  }
  const bytes = zipped(entries)
  return { parts: [bytes], bytes }
}

/** The same entries give the same bytes, at any time and in any zone. */
const zipped = (entries: Readonly<Record<string, Uint8Array>>): Uint8Array<ArrayBuffer> =>
  zipSync(entries as Record<string, Uint8Array>, { mtime: new Date(1980, 0, 1) }) as Uint8Array<ArrayBuffer>

/** The configuration with the model's widths, and the network that it says, of the model's constants. */
function rebuilt(given: JsonObject, model: Model, facts: Facts): { readonly json: JsonObject; readonly built: Built } {
  const layers = layersOf(facts.turned1d)
  const idOf = places(given, model, facts)
  const dataOf = (id: string): Tensor | undefined => model.graph.values.get(idOf(id))?.data
  let json: JsonObject = given
  const change = (path: Path, fields: Fields): void => {
    json = at(json, path, fields) as JsonObject
  }
  for (const step of networkOf(given).steps) {
    if (step.what !== 'layer') continue
    const fields = layerOf(layers, step.conf).narrow?.(step.conf, (key) => dataOf(`${step.name}.${key}`)?.shape)
    // Repairs after pruning shift a layer that had no bias.
    const isBiased = field(step.conf.fields, 'hasBias') === false && idOf(`${step.name}.b`) !== `${step.name}.b`
    if (fields || isBiased) change(step.path, { ...fields, ...(isBiased ? { hasBias: true } : {}) })
  }
  const network: Network = networkOf(json)
  const built = build(network, (piece) => parameter(piece, dataOf(piece.id)), { ...facts, adapt: change })
  return { json, built }
}

/**
 * Ids of the model's constants by those that the archive's network had: passes that compute a new constant give it a name of its
 * own, but keep that of what is computed with it.
 */
function places(given: JsonObject, model: Model, facts: Facts): (id: string) => string {
  const { graph } = build(networkOf(given), (piece) => blank(shapeOfPiece(piece)), facts)
  const makers = new Map(model.graph.nodes.map((n) => [n.outputs[0], n]))
  const found = new Map<string, string>()
  for (const node of graph.nodes) {
    const same = makers.get(node.outputs[0])
    for (const [i, now] of same?.inputs.entries() ?? []) {
      const id = node.inputs[i]
      if (now === null || !model.graph.values.get(now)?.data) continue
      if (id != null && graph.values.get(id)?.data) found.set(id, now)
      else if (id === undefined) found.set(String(node.inputs[1]).replace(/\.W$/, '.b'), now)
    }
  }
  return (id) => found.get(id) ?? id
}

/** A tensor whose numbers nobody reads. */
const blank = (shape: readonly number[]): Tensor => ({
  dtype: 'float32',
  shape,
  bytes: {
    length: 4 * elementCount(shape),
    slice: (from = 0, to = 4 * elementCount(shape)) => new Uint8Array(to - from)
  }
})

function parameter(piece: Piece, data: Tensor | undefined): Tensor {
  const missing = (message: string): PareError =>
    new PareError('E_UNSUPPORTED', message, { where: piece.id, hint: instead })
  if (!data)
    throw missing(`an archive of DL4J holds the parameter ${piece.id}, which the model no longer has by itself`)
  if (data.dtype !== 'float32')
    throw missing(`DL4J computes with floats: a parameter of ${data.dtype} cannot be written`)
  return data
}

/** Fields changed of the object at a path. */
function at(json: Json, path: Path, fields: Fields): Json {
  const [head, ...rest] = path
  if (head === undefined) return patched(json, fields)
  if (Array.isArray(json)) return json.map((x, i) => (i === head ? at(x, rest, fields) : x))
  if (!isObject(json)) return json
  const key = keyFor(String(head))
  return { ...json, [key]: at(json[key] ?? null, rest, fields) }
}

function refuseDifference(built: Built, model: Model): void {
  const found = difference(built.graph, model.graph)
  if (!found) return
  const { node, side } = found
  throw new PareError(
    'E_UNSUPPORTED',
    side === 'second'
      ? `DL4J cannot say this ${node.op}: the archive it was read from has another network there`
      : `the archive has a ${node.op} that the model no longer has`,
    { where: node.name, hint: instead }
  )
}

/** The flat vector of parameters; what the network does not compute with is as it was, or zero where its size has changed. */
function flatOf(built: Built, parts: Readonly<Record<string, Uint8Array>>): Float32Array {
  const flat = new Float32Array(built.count)
  for (const piece of built.pieces) {
    const count = piece.view.reduce((n, d) => n * d, 1)
    const { data } = built.graph.values.get(piece.id) as Value
    turnBack(toFloats(data as Tensor), piece, flat.subarray(piece.at, piece.at + count))
  }
  for (const { key, at, count } of built.unused) {
    const was = parts[key]
    if (was?.length === 4 * count) flat.set(new Float32Array(concat([was]).buffer), at)
  }
  return flat
}

/** The archive's own type where it holds all numbers as they are, else `FLOAT`. */
function typeFor(flat: Float32Array, own: Numbers): Numbers {
  if (own === 'HALF') return flat.every((x) => fromFloat16(toFloat16(x)) === x) ? own : 'FLOAT'
  if (own === 'BFLOAT16') return flat.every((x) => fromBfloat16(toBfloat16(x)) === x) ? own : 'FLOAT'
  return own
}

/** Every `dataType` of the configuration changed. */
function ofType(json: JsonObject, type: Numbers): JsonObject {
  const walk = (x: Json): Json => {
    if (Array.isArray(x)) return x.map(walk)
    if (!isObject(x)) return x
    return Object.fromEntries(
      Object.entries(x).map(([key, v]) => [key, key === 'dataType' && typeof v === 'string' ? type : walk(v)])
    )
  }
  return walk(json) as JsonObject
}
