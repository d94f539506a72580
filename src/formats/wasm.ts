/**
 * Compiled models: WebAssembly modules that run on their own. Written from a model; read only as far as running them needs,
 * as one node that stands for all.
 */
import { z } from 'zod'
import { PareError } from '../base/errors.ts'
import { isWasm, moduleOf, noteOf, openPorts, tune } from '../compile/index.ts'
import { bindInputs, openSizes } from '../ir/bind.ts'
import type { Model, Value } from '../types.ts'
import { workingOpset } from './onnx/opsets.ts'
import type { Format, Reader } from './types.ts'

const options = z.strictObject({
  batchSizes: z
    .array(z.int().min(1).max(4096))
    .min(1)
    .optional()
    .describe('numbers of samples that a run may take, with the weights once; 1 alone by default')
})

const reader: Reader = {
  name: 'wasm',
  title: 'WebAssembly module',
  extensions: ['.wasm'],
  detect: isWasm,
  read: (bytes) => {
    const note = noteOf(bytes.slice())
    const { inputs, outputs } = openPorts(note)
    const value = ({ name, dtype, shape }: (typeof inputs)[number]): Value => ({
      id: name,
      type: 'tensor',
      dtype,
      shape
    })
    const node = {
      ...{ name: 'compiled', op: 'Compiled', domain: 'pare', attrs: {} },
      ...{ inputs: inputs.map((p) => p.name), outputs: outputs.map((p) => p.name) }
    }
    const model: Model = {
      graph: {
        ...{ name: 'compiled', inputs: node.inputs, outputs: node.outputs, nodes: [node] },
        values: new Map([...inputs, ...outputs].map((p) => [p.name, value(p)]))
      },
      opset: workingOpset,
      domains: { pare: 1 },
      meta: {},
      origin: { format: 'wasm', version: note.version, compiled: true }
    }
    const tuned = Object.entries(note.tuned ?? {}).map(([kernel, way]) => `${kernel} as ${way}`)
    return {
      model,
      notes: [
        'a compiled model: it runs, and what it computes is not read back',
        ...(tuned.length > 0 ? [`kernels tuned by measurement: ${tuned.join(', ')}`] : [])
      ]
    }
  }
}

/** Compiled models. */
export const wasm: Format<z.output<typeof options>> = {
  ...reader,
  options,
  write: (model, { batchSizes = [1] }, { tunings = {} } = {}) => {
    if (model.origin?.compiled)
      throw new PareError('E_UNSUPPORTED', 'a compiled model cannot be compiled again', {
        hint: 'compile the model that it was made from'
      })
    const fastest = Object.fromEntries(Object.entries(tunings).map(([key, t]) => [key, t.fastest]))
    const [first, ...others] = bound(model, batchSizes)
    const bytes = moduleOf(others.length > 0 ? [first, ...others] : first, fastest)
    return { parts: [bytes], bytes }
  },
  tune: (model, known) => tune(bindInputs(model, {}), known)
}

/** The model for each number of samples, the fewest first. Throws `E_OPTION` where it has a number of its own. */
function bound(model: Model, batchSizes: readonly number[]): readonly [Model, ...Model[]] {
  const samples = [...openSizes(model).samples]
  const counts = [...new Set(batchSizes)].sort((a, b) => a - b)
  if (samples.length === 0 && counts.some((n) => n !== 1))
    throw new PareError('E_OPTION', 'no input has a free first axis, so that the number of samples is fixed', {
      where: 'batchSizes',
      hint: 'leave out --batch-sizes'
    })
  const [first = model, ...others] = counts.map((n) =>
    bindInputs(model, Object.fromEntries(samples.map((symbol) => [symbol, n])))
  )
  return [first, ...others]
}
