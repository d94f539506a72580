/**
 * Compiled models: WebAssembly modules that run on their own. Written from a model; read only as far as running them needs,
 * as one node that stands for all.
 */
import { z } from 'zod'
import { PareError } from '../base/errors.ts'
import { isWasm, moduleOf, noteOf, type Port, tune } from '../compile/index.ts'
import { bindInputs } from '../ir/bind.ts'
import type { Model, Value } from '../types.ts'
import { workingOpset } from './onnx/opsets.ts'
import type { Format, Reader } from './types.ts'

const options = z.strictObject({})

const reader: Reader = {
  name: 'wasm',
  title: 'WebAssembly module',
  extensions: ['.wasm'],
  detect: isWasm,
  read: (bytes) => {
    const note = noteOf(bytes.slice())
    const value = (p: Port): Value => ({ id: p.name, type: 'tensor', dtype: p.dtype, shape: p.shape })
    const node = {
      ...{ name: 'compiled', op: 'Compiled', domain: 'pare', attrs: {} },
      ...{ inputs: note.inputs.map((p) => p.name), outputs: note.outputs.map((p) => p.name) }
    }
    const model: Model = {
      graph: {
        ...{ name: 'compiled', inputs: node.inputs, outputs: node.outputs, nodes: [node] },
        values: new Map([...note.inputs, ...note.outputs].map((p) => [p.name, value(p)]))
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
  write: (model, _, { tunings = {} } = {}) => {
    if (model.origin?.compiled)
      throw new PareError('E_UNSUPPORTED', 'a compiled model cannot be compiled again', {
        hint: 'compile the model that it was made from'
      })
    const fastest = Object.fromEntries(Object.entries(tunings).map(([key, t]) => [key, t.fastest]))
    const bytes = moduleOf(bindInputs(model, {}), fastest)
    return { parts: [bytes], bytes }
  },
  tune: (model, known) => tune(bindInputs(model, {}), known)
}
