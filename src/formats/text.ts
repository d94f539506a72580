/**
 * The text form of a model (src/ir/text.ts) as a file: a network written by hand, to be trained. Nodes are called as
 * their first output. Constants without values get small seeded numbers.
 */
import { PareError } from '../base/errors.ts'
import { check } from '../ir/check.ts'
import { parse } from '../ir/text.ts'
import type { Format, Graph, Model } from '../types.ts'
import { newestOpset, workingOpset } from './onnx/opsets.ts'

const bom = '\ufeff'
/** Comments and space, then the statement that every such file begins with. */
const beginning = /^(?:\s|#[^\n]*\n)*opset\s+\d/

export const text: Format = {
  name: 'text',
  extensions: ['.txt'],
  detect: (head) => isText(head) && beginning.test(decode(head)),
  read: (bytes) => check(named(ofKnownOpset(parse(decode(bytes.slice()))))),
  write: () => {
    throw new PareError('E_UNSUPPORTED', 'the text form leaves out weights, so no model is written in it', {
      hint: 'pare inspect --graph prints it'
    })
  }
}

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
