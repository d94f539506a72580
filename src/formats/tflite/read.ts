/**
 * TensorFlow Lite → Model. Its operators become ONNX's: those with channels last stand between transposes, quantized tensors are
 * pairs of QuantizeLinear and DequantizeLinear. Inputs and outputs keep their names, shapes and order.
 */
import { toArray } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { listed } from '../../base/listed.ts'
import { defaultOpset } from '../../ir/build.ts'
import { check } from '../../ir/check.ts'
import { allGraphs } from '../../ir/graph.ts'
import type { Bytes, Model, Origin, Signature } from '../../types.ts'
import type { Noted } from '../types.ts'
import { type Conversion, convertInto, domains } from './convert.ts'
import { decode } from './decode.ts'
import { Emitter, Ids } from './emit.ts'
import type { FlatModel, SubGraph, TensorMap } from './model.ts'
import { Scope } from './scope.ts'
import { endOf } from './tensors.ts'

/** Name of the format, in `Format` and `Origin`. */
export const formatName = 'tflite'

/** Reads a file. What has no counterpart in ONNX stays as a node of a domain of its own, and a note names it. */
export function readFlat(bytes: Bytes): Noted {
  const file = decode(bytes)
  const main = file.subgraphs?.[0]
  if (!main) throw new PareError('E_FORMAT', 'a TensorFlow Lite file without a subgraph')
  const ids = new Ids()
  const emitter = new Emitter(ids)
  const scope = new Scope(file, main, emitter)
  const at: Conversion = { model: file, ids, notes: new Map(), operators: 0 }
  const inputs = (main.inputs ?? []).map((t) => scope.nameOf(t))
  const outputs = new Map((main.outputs ?? []).map((t) => [t, scope.nameOf(t)]))
  for (const [i, t] of (main.inputs ?? []).entries()) scope.input(t, inputs[i] as string)
  convertInto(scope, at, 0)
  const results = [...outputs.keys()].map((t) => scope.output(t))
  const types = [...(main.inputs ?? []), ...outputs.keys()].map((t, i) =>
    endOf(scope.tensor(t), [...inputs, ...results][i] as string)
  )
  const graph = emitter.graph(main.name ?? '', inputs, results, types)
  const { signatures, left } = signaturesIn(
    file,
    main,
    scope,
    new Map([...outputs.keys()].map((t, i) => [t, results[i] as string]))
  )
  const model: Model = { graph, opset: defaultOpset, domains: {}, meta: {}, origin: originOf(file, signatures) }
  const used = new Set(allGraphs(model).flatMap((g) => g.nodes.map((n) => n.domain ?? '')))
  const own = Object.values(domains).filter((d) => used.has(d))
  return {
    model: check({ ...model, domains: Object.fromEntries(own.map((d) => [d, 1])) }),
    notes: [...[...at.notes].map(([text, places]) => `${text} (${listed(places)})`), ...left]
  }
}

function originOf(file: FlatModel, signatures: readonly Signature[]): Origin {
  const attachments = (file.metadata ?? []).flatMap(({ name, buffer }) => {
    const data = buffer === undefined ? undefined : file.buffers?.[buffer]?.data
    return name === undefined || !data ? [] : [[name, toArray(data)] as const]
  })
  return {
    format: formatName,
    version: file.version ?? 3,
    ...(file.description === undefined ? {} : { header: { description: file.description } }),
    ...(signatures.length > 0 ? { signatures } : {}),
    ...(attachments.length > 0 ? { attachments: Object.fromEntries(attachments) } : {})
  }
}

/** Signatures of the main subgraph; others, and what else is not read, are said. */
function signaturesIn(
  file: FlatModel,
  main: SubGraph,
  scope: Scope,
  outputs: ReadonlyMap<number, string>
): { readonly signatures: readonly Signature[]; readonly left: readonly string[] } {
  const all = file.signature_defs ?? []
  const names = (maps: readonly TensorMap[] | undefined, id: (t: number) => string): Record<string, string> =>
    Object.fromEntries((maps ?? []).map(({ name = '', tensor_index: t = 0 }) => [name, id(t)]))
  const signatures = all
    .filter((s) => (s.subgraph_index ?? 0) === 0)
    .map((s) => ({
      name: s.signature_key ?? '',
      inputs: names(s.inputs, (t) => scope.nameOf(t)),
      outputs: names(s.outputs, (t) => outputs.get(t) ?? scope.nameOf(t))
    }))
  const others = all.filter((s) => (s.subgraph_index ?? 0) !== 0).map((s) => s.signature_key ?? '')
  return {
    signatures,
    left:
      others.length > 0
        ? [`signatures of other subgraphs than ${main.name || 'the first'} are left out: ${listed(others)}`]
        : []
  }
}
