/** What a file holds beside its graph: description, signatures and attachments, as the file had them that the model was read from. */
import type { Model } from '../../../types.ts'
import type { FlatModel, TensorMap } from '../model.ts'
import type { Flat } from './flat.ts'

/** Who wrote it, where no file says it. */
const description = 'Pare'

/** The parts of a graph with all that is around them. */
export function surroundings({ origin }: Model, { parts, places }: Flat): Omit<FlatModel, 'version'> {
  const own = origin?.format === 'tflite' ? origin : undefined
  const maps = (named: Readonly<Record<string, string>>): readonly TensorMap[] =>
    Object.entries(named).flatMap(([name, id]) => {
      const tensor_index = places.get(id)
      return tensor_index === undefined ? [] : [{ name, tensor_index }]
    })
  const signature_defs = (own?.signatures ?? []).map((s) => ({
    inputs: maps(s.inputs),
    outputs: maps(s.outputs),
    signature_key: s.name,
    subgraph_index: 0
  }))
  const attached = Object.entries(own?.attachments ?? {})
  const buffers = [...(parts.buffers ?? []), ...attached.map(([, data]) => ({ data }))]
  const first = parts.buffers?.length ?? 0
  const metadata = attached.map(([name], i) => ({ name, buffer: first + i }))
  return {
    ...parts,
    buffers,
    description: own?.header?.['description'] ?? description,
    ...(signature_defs.length > 0 ? { signature_defs } : {}),
    ...(metadata.length > 0 ? { metadata } : {})
  }
}
