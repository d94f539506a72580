/**
 * What is left of QuantizeLinear and DequantizeLinear: rounding at the ends of a model and around operators in float, and weights in few
 * bits. Weights of layers that round their data while they run are read as codes; all others are widened when the file is loaded.
 */
import type { Draft } from '../../../ir/edit.ts'
import type { Node } from '../../../types.ts'
import { isRounding, type Unmapped } from '../lower/index.ts'
import { codesOf, domain, isLowered } from '../lower/site.ts'
import { readingOf } from '../remarks.ts'
import type { Codes } from './integer.ts'
import { kernelOf } from './kernels.ts'
import { dequantized, type Parameters, parametersOf } from './parameters.ts'

/** `isDynamic`: layers with data in float may round it while they run. */
export function lowerRoundings(draft: Draft, codes: Codes, isDynamic: boolean, unmapped: Unmapped): void {
  if (isDynamic) readCodes(draft, codes)
  draft.sweep()
  for (const node of draft.nodes()) {
    if (!isRounding(node)) continue
    const by = parametersOf(draft, node)
    if (!by) {
      unmapped.set(node.name, { node, reason: 'scales of blocks, or scales that are computed' })
      continue
    }
    const found = codesOf(draft, node.outputs[0] as string)
    if (found && by.dtype === 'int32') {
      // There is no DEQUANTIZE of int32.
      draft.remove(node)
      draft.rewire(node.outputs[0] as string, draft.addConstant(dequantized(found, by), `${node.inputs[0]}_float`))
      continue
    }
    const isQuantize = node.op === 'QuantizeLinear'
    const before = draft.producer(node.inputs[0] as string)
    // Codes of other codes: one operator rounds them anew.
    const from =
      isQuantize && before?.op === 'DequantizeLinear' && isRounding(before) && !codesOf(draft, node.inputs[0] as string)
        ? (before.inputs[0] as string)
        : (node.inputs[0] as string)
    draft.replace(node, { ...node, op: isQuantize ? 'QUANTIZE' : 'DEQUANTIZE', domain, inputs: [from], attrs: {} })
  }
  draft.sweep()
}

/** Layers with data in float and weights of codes that round the data while they run. */
function readCodes(draft: Draft, codes: Codes): void {
  for (const node of draft.nodes()) {
    const kernel = isLowered(node) ? kernelOf(node.op) : undefined
    if (kernel?.weight === undefined) continue
    const id = node.inputs[kernel.weight] as string
    const found = codesOf(draft, id)
    const by = found && parametersOf(draft, found.node)
    const wanted = found && readingOf(found.node)
    if (found && by && isSymmetric(by) && (wanted ?? (kernel.dynamic ? 'dynamic' : 'widened')) === 'dynamic')
      replaceInput(draft, node, kernel.weight, found.node.inputs[0] as string, by, codes)
  }
}

const isSymmetric = (by: Parameters): boolean => by.dtype === 'int8' && by.zero.every((z) => z === 0)

function replaceInput(draft: Draft, node: Node, place: number, id: string, by: Parameters, codes: Codes): void {
  codes.set(id, by)
  draft.replace(node, { ...node, inputs: node.inputs.with(place, id) })
}
