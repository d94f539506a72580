/**
 * Weights that a file stores in 16 bits, and a Cast makes float32 where they are used: for passes that look at weights they are
 * float32 constants, and what is left of them afterwards is stored as before.
 */
import { attrInt } from '../ir/attrs.ts'
import { codeOfDtype } from '../ir/dtype-code.ts'
import { editGraph, mapGraphs, takenIds } from '../ir/edit.ts'
import { constant, consumers, isOutput, producer } from '../ir/graph.ts'
import { tensor, toFloats } from '../ir/tensor.ts'
import type { DType, Graph, Model, Node, Tensor, Value } from '../types.ts'
import { isPlain } from './left.ts'
import { isCast } from './quantize/cast/compute.ts'

const narrow: readonly (DType | undefined)[] = ['float16', 'bfloat16']

interface Half {
  readonly cast: Node
  readonly stored: Value & { readonly data: Tensor }
}

export interface Widened {
  readonly model: Model
  /** What a pass made of `model`, with its float32 constants of those names in 16 bits again. */
  back(made: Model): Model
}

/** `undefined` where no weight is stored so. */
export function widened(model: Model): Widened | undefined {
  const halves = new Map<string, Half>()
  const taken = takenIds(model)
  const wide = mapGraphs(model, (graph) => {
    const found = graph.nodes.flatMap((cast) => halfOf(graph, cast) ?? [])
    if (found.length === 0) return graph
    return editGraph(
      graph,
      (d) => {
        for (const { cast, stored } of found) {
          const [id] = cast.outputs as [string]
          const data = tensor('float32', stored.data.shape, toFloats(stored.data))
          halves.set(id, { cast, stored })
          d.remove(cast)
          d.set({ ...stored, id, dtype: 'float32', data })
        }
      },
      taken
    )
  })
  return halves.size === 0 ? undefined : { model: wide, back: (made) => narrowed(made, halves) }
}

function halfOf(graph: Graph, cast: Node): Half | undefined {
  const [from, to] = [cast.inputs[0], cast.outputs[0]]
  const isWidening = isCast(cast) && cast.domain === undefined && attrInt(cast, 'to', 0) === codeOfDtype('float32')
  const stored = isWidening && from ? graph.values.get(from) : undefined
  const data = stored && constant(graph, stored.id)
  if (!data || !to || !narrow.includes(data.dtype) || !isPlain(stored) || isOutput(graph, to)) return undefined
  return { cast, stored: { ...stored, data } }
}

function narrowed(model: Model, halves: ReadonlyMap<string, Half>): Model {
  const taken = takenIds(model)
  return mapGraphs(model, (graph) => {
    const whole = [...graph.values.values()].filter((v) => halves.has(v.id) && isWhole(graph, v))
    const ids = new Set(whole.map((v) => v.id))
    const found = whole.filter((v) => isBesideHalves(graph, v, ids))
    if (found.length === 0) return graph
    return editGraph(
      graph,
      (d) => {
        for (const v of found) {
          const { cast, stored } = halves.get(v.id) as Half
          const { data, form, sparse, ...type } = v as Value & { readonly data: Tensor }
          const dtype = stored.dtype as DType
          const id = taken.has(stored.id) ? d.fresh(stored.id) : stored.id
          const kept = { ...(form ? { form } : {}), ...(sparse ? { sparse } : {}) }
          d.set({ ...type, ...kept, id, dtype, data: tensor(dtype, data.shape, toFloats(data)) })
          d.set(type)
          d.addNode({ ...cast, inputs: [id], outputs: [v.id] })
        }
      },
      taken
    )
  })
}

/** A float32 constant that nodes read, and that no pass gave a form of fewer bits. */
const isWhole = (graph: Graph, v: Value): boolean =>
  v.data?.dtype === 'float32' &&
  (isPlain(v) || v.form === 'auto') &&
  constant(graph, v.id) !== undefined &&
  !isOutput(graph, v.id) &&
  consumers(graph, v.id).length > 0

/** Runtimes want the bias of a layer in the type of its weight: beside codes it stays float32. */
function isBesideHalves(graph: Graph, v: Value, halves: ReadonlySet<string>): boolean {
  if ((v.shape?.length ?? 0) > 1) return true
  const others = consumers(graph, v.id).flatMap((n) => n.inputs.filter((id) => id !== null && id !== v.id)) as string[]
  return others.every((id) => halves.has(id) || !isWeight(graph, id))
}

/** A constant of several axes, or what is made of one alone. */
function isWeight(graph: Graph, id: string): boolean {
  const maker = producer(graph, id)
  const made = maker ? maker.inputs.map((i) => (i === null ? undefined : constant(graph, i))) : [constant(graph, id)]
  const isConstant = maker ? maker.inputs.every((i, k) => i === null || made[k]) : made[0] !== undefined
  return isConstant && (made[0]?.shape.length ?? 0) > 1
}
