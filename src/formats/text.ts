/**
 * The text form of a model (src/ir/text.ts) as a file: a network written by hand, to be trained. Nodes are called as
 * their first output. Constants without values get small seeded numbers.
 */

import { z } from 'zod'
import { PareError } from '../base/errors.ts'
import { check } from '../ir/check.ts'
import { parse } from '../ir/text.ts'
import type { Graph, Model } from '../types.ts'
import { newestOpset, workingOpset } from './onnx/opsets.ts'
import type { Format, Reader } from './types.ts'

const bom = '\ufeff'
/** Comments and space, then the statement that every such file begins with. */
const beginning = /^(?:\s|#[^\n]*\n)*opset\s+\d/

const textReader: Reader = {
  name: 'text',
  title: 'text form',
  extensions: ['.txt'],
  detect: (head) => isText(head) && beginning.test(decode(head)),
  read: (bytes) => {
    const model = check(named(ofKnownOpset(parse(decode(bytes.slice())))))
    return {
      model: { ...model, origin: { format: 'text', untrained: true } },
      notes: ['the text form holds no weights: constants without values were drawn']
    }
  }
}

/** Only read: it leaves out weights. `pare inspect --graph` prints it. */
export const text: Format<object> = { ...textReader, weightless: true, options: z.strictObject({}) }

const isText = (head: Uint8Array): boolean => head.every((b) => b >= 0x20 || b === 9 || b === 10 || b === 13)

function decode(bytes: Uint8Array): string {
  const read = new TextDecoder().decode(bytes)
  return read.startsWith(bom) ? read.slice(1) : read
}

/** Unlike a file of ONNX, a text is not raised from older opsets. */
function ofKnownOpset(model: Model): Model {
  if (model.opset >= workingOpset && model.opset <= newestOpset) return model
  throw new PareError('E_OPSET', `a network in words of opset ${model.opset}`, {
    hint: `write it in opset ${workingOpset} to ${newestOpset}`
  })
}

function named(model: Model): Model {
  const nodes = model.graph.nodes.map((n) => ({ ...n, name: n.outputs.find((id) => id !== '') ?? n.name }))
  const graph: Graph = { ...model.graph, nodes }
  return { ...model, graph }
}
