/** Model → TensorFlow Lite file. */
import { toArray } from '../../../base/bytes.ts'
import { PareError } from '../../../base/errors.ts'
import { listed } from '../../../base/listed.ts'
import { edit } from '../../../ir/edit.ts'
import { inferShapes } from '../../../ops/infer.ts'
import { moveTransposes } from '../../../ops/layout.ts'
import type { Bytes, Model } from '../../../types.ts'
import type { Written } from '../../types.ts'
import { encode } from '../encode.ts'
import { lowerOrdered, lowerPlain, type Unmapped } from '../lower/index.ts'
import type { FlatModel } from '../model.ts'
import { fuseActivations } from './activation.ts'
import { moveOnCodes, signCodes } from './codes.ts'
import { codeEnds, transposedEnds, turnEnds } from './ends.ts'
import { flatten } from './flat.ts'
import { matchBiases, widenHalf } from './half.ts'
import { type Codes, quantizeTensors } from './integer.ts'
import { surroundings } from './meta.ts'
import { written } from './parameters.ts'
import { lowerRoundings } from './roundings.ts'
import { type Sparse, thinOut } from './sparse.ts'
import { staticModel } from './static.ts'

export interface FlatOptions {
  /** Samples that the file takes at once. */
  readonly batch: number
  readonly layout: 'keep' | 'nhwc'
  readonly io: 'keep' | 'int8'
  /** Layers with weights of codes and data in float round that while they run. */
  readonly dynamic: boolean
}

/** The file of a model. Throws `E_UNSUPPORTED` that names every node without a counterpart. */
export function writeFlat(model: Model, o: FlatOptions): Written {
  const { flat, notes } = flatModel(model, o)
  const parts = encode(flat)
  return {
    parts,
    ...(notes.length > 0 ? { notes } : {}),
    get bytes() {
      return joined(parts)
    }
  }
}

/** Lowered in two halves: what has an order of axes of its own, then, with the Transposes of both sides gone, all else. */
function flatModel(model: Model, o: FlatOptions): { readonly flat: FlatModel; readonly notes: readonly string[] } {
  const { model: fixed, open } = staticModel(model, o.batch)
  const unmapped: Unmapped = new Map()
  const notes: string[] = []
  let codes: Codes = new Map()
  let sparse: ReadonlyMap<string, Sparse> = new Map()
  const ordered = edit(fixed, (d) => {
    widenHalf(d)
    signCodes(d)
    lowerOrdered(d, open, unmapped)
    moveOnCodes(d, open)
  })
  const moved = inferShapes(moveTransposes(ordered))
  const lowered = edit(moved, (d) => {
    moveOnCodes(d, open)
    if (o.layout === 'nhwc') {
      const turned = turnEnds(d)
      if (turned.length > 0) notes.push(`channels are last in ${listed(turned)}`)
    } else if (model.origin?.format !== 'tflite') {
      const ends = transposedEnds(d)
      if (ends.length > 0)
        notes.push(`channels are first in ${listed(ends)}, behind which a TRANSPOSE stands: --layout nhwc saves it`)
    }
    if (o.io === 'int8') codeEnds(d)
    lowerPlain(d, open, unmapped)
    fuseActivations(d)
    for (const note of matchBiases(d)) notes.push(note)
    codes = quantizeTensors(d)
    lowerRoundings(d, codes, o.dynamic, unmapped)
    sparse = thinOut(d)
  })
  refuseUnmapped(unmapped)
  const { graph } = lowered
  const ends = new Set([...graph.inputs, ...graph.outputs])
  const flat = flatten(graph, (id) => {
    const by = codes.get(id)
    const thin = sparse.get(id)
    return {
      ...(by ? { quantization: written(by) } : {}),
      ...(thin ? { sparsity: thin } : {}),
      ...(open.has(id) && ends.has(id) ? { open: true } : {})
    }
  })
  return { flat: { version: 3, ...surroundings(model, flat) }, notes }
}

function refuseUnmapped(unmapped: Unmapped): void {
  if (unmapped.size === 0) return
  const reasons = new Map<string, string[]>()
  for (const { node, reason } of unmapped.values()) reasons.set(reason, [...(reasons.get(reason) ?? []), node.name])
  const [first] = unmapped.values()
  throw new PareError('E_UNSUPPORTED', `TensorFlow Lite cannot hold this model: ${first?.reason}`, {
    where: first?.node.name ?? '',
    facts: Object.fromEntries([...reasons].map(([reason, names]) => [reason, listed(names)])),
    hint: 'pare simplify and pare fuse leave fewer operators; the ONNX format takes all'
  })
}

function joined(parts: readonly Bytes[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let at = 0
  for (const p of parts) {
    out.set(toArray(p), at)
    at += p.length
  }
  return out
}
