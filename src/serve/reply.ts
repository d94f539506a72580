/** Replies of the Open Inference Protocol (v2). */
import { datatypeOf } from './datatypes.ts'
import { sizeWord } from './request.ts'
import type { InferReply, Port, Signature } from './types.ts'
import { bytesFor, toJson } from './values.ts'

/** A reply as it is sent: parts to be joined, and where they are not JSON alone, how long the JSON is. */
export interface Printed {
  readonly parts: readonly (string | Uint8Array)[]
  readonly jsonBytes?: number
}

/** Outputs that were asked for in binary follow the JSON in their order. Throws `E_REQUEST` for what JSON cannot say. */
export function printReply({ model, version, id, outputs }: InferReply): Printed {
  const tail: Uint8Array[] = []
  const printed = outputs.map(({ name, isBinary, tensor: t }) => {
    const head = `{"name":${JSON.stringify(name)},"datatype":"${datatypeOf(t.dtype)}","shape":[${t.shape.join(',')}]`
    if (!isBinary) return `${head},"data":${toJson(t, name)}}`
    const bytes = bytesFor(t)
    tail.push(bytes)
    return `${head},"parameters":{"binary_data_size":${bytes.length}}}`
  })
  const own = id === undefined ? '' : `"id":${JSON.stringify(id)},`
  const json = `{${own}"model_name":${JSON.stringify(model)},"model_version":"${version}","outputs":[${printed.join(',')}]}`
  if (tail.length === 0) return { parts: [json] }
  const bytes = new TextEncoder().encode(json)
  return { parts: [bytes, ...tail], jsonBytes: bytes.length }
}

/** Inputs and outputs as metadata tells them; -1: free. */
export const portsJson = (ports: readonly Port[]): readonly object[] =>
  ports.map(({ name, dtype, shape }) => ({
    name,
    datatype: datatypeOf(dtype),
    shape: shape ? shape.map(sizeWord) : [-1]
  }))

/** What `GET /v2/models/NAME` tells. */
export const metadataJson = (name: string, versions: readonly string[], { inputs, outputs }: Signature): object => ({
  name,
  versions,
  platform: 'onnx_onnxv1',
  inputs: portsJson(inputs),
  outputs: portsJson(outputs)
})

/** How samples are run together, as far as a configuration tells it. */
export interface BatchFacts {
  /** Samples of one run at most; 0: the model has no axis of samples. */
  readonly most: number
  readonly delayMs: number
  readonly workers: number
}

/** A configuration as Triton's clients read it: sizes without the axis of samples where there is one. */
export function configJson(name: string, { inputs, outputs }: Signature, batch: BatchFacts): object {
  const port = (p: Port): object => ({
    name: p.name,
    data_type: `TYPE_${p.dtype === 'string' ? 'STRING' : datatypeOf(p.dtype)}`,
    dims: (p.shape?.map(sizeWord) ?? [-1]).slice(batch.most > 0 ? 1 : 0)
  })
  return {
    name,
    platform: 'onnxruntime_onnx',
    backend: 'onnxruntime',
    max_batch_size: batch.most,
    input: inputs.map(port),
    output: outputs.map(port),
    ...(batch.most > 1
      ? {
          dynamic_batching: {
            preferred_batch_size: [batch.most],
            max_queue_delay_microseconds: Math.round(batch.delayMs * 1000)
          }
        }
      : {}),
    instance_group: [{ name, kind: 'KIND_CPU', count: batch.workers }]
  }
}
