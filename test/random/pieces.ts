/** What random graphs are made of: every model of the operators' own cases, raised to Pare's opset, as a piece. */
import { PareError } from '../../src/base/errors.ts'
import { readModel, writeModel } from '../../src/formats/index.ts'
import { parse } from '../../src/ir/text.ts'
import { inferShapes } from '../../src/ops/infer.ts'
import { shapeCases } from '../../src/ops/shapes.cases.ts'
import type { Dim, Model } from '../../src/types.ts'
import { channelCases } from '../channels.cases.ts'
import { type GradCase, gradCases } from '../grad.cases.ts'
import { blocks } from './blocks.ts'

export interface Piece {
  readonly name: string
  readonly text: string
  /** What its inputs must be for its results to be finite. */
  readonly values: GradCase['values']
}

export type Real = 'f32' | 'f16' | 'f64'

/**
 * ONNX Runtime infers other sizes for these than it computes, so that a model with them opens or not by what is optimised
 * around them.
 */
const contradictory = ['shapes: max pool ceil last window in padding 2', 'shapes: max pool same dilated']

/** All pieces, in a stable order: a new operator joins by its cases. */
export const pieces: readonly Piece[] = [
  ...Object.entries(shapeCases).map(([name, text]) => ({ name: `shapes: ${name}`, text, values: undefined })),
  ...Object.entries(gradCases).map(([name, c]) => ({ name: `grad: ${name}`, text: c.model, values: c.values })),
  ...Object.entries(channelCases).map(([name, c]) => ({ name: `channels: ${name}`, text: c.model, values: undefined })),
  ...Object.entries(blocks).map(([name, text]) => ({ name: `block: ${name}`, text, values: undefined }))
].filter(({ name }) => !contradictory.includes(name))

const known = new Map<string, Model | undefined>()

/**
 * The model of a piece with its floats in a type. `open`: sizes that are fixed in front become the batch. `undefined` where
 * no such model can be written.
 */
export function modelOf(piece: Piece, real: Real, open: boolean): Model | undefined {
  const key = `${piece.name}/${real}/${open}`
  if (!known.has(key)) known.set(key, made(piece, real, open))
  return known.get(key)
}

function made(piece: Piece, real: Real, open: boolean): Model | undefined {
  try {
    const text = piece.text.replaceAll('; ', '\n')
    const cast = real === 'f16' ? 10 : 11
    const typed = real === 'f32' ? text : text.replaceAll(/\bf32\b/g, real).replaceAll(/\bto=1\b/g, `to=${cast}`)
    const parsed = parse(typed)
    const model = readModel(writeModel(open ? opened(parsed) : parsed).bytes)
    const inferred = inferShapes(model)
    const isTensor = (id: string): boolean => inferred.graph.values.get(id)?.type === 'tensor'
    return [...inferred.graph.inputs, ...inferred.graph.outputs].every(isTensor) ? inferred : undefined
  } catch (error) {
    if (error instanceof PareError && error.code !== 'E_INTERNAL') return undefined
    throw error
  }
}

/** Inputs of the rank and the first size of the first one have the batch in front. */
function opened(model: Model): Model {
  const { graph } = model
  const first = graph.values.get(graph.inputs[0] ?? '')?.shape
  if (typeof first?.[0] !== 'number') throw new PareError('E_SHAPE', 'no fixed size in front')
  const values = new Map(graph.values)
  for (const id of graph.inputs) {
    const v = values.get(id)
    if (v?.shape?.length === first.length && v.shape[0] === first[0])
      values.set(id, { ...v, shape: ['N' as Dim, ...v.shape.slice(1)] })
  }
  return { ...model, graph: { ...graph, values } }
}
