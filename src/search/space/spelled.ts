/**
 * What spells stored weights in a file beside their numbers, by writing it: nodes, names and shapes differ from format to format,
 * and weights of one type may share a table.
 */
import { constant } from '../../ir/graph.ts'
import { tensor, tensorBytes, toFloats } from '../../ir/tensor.ts'
import { type Part, storedSize, type Way } from '../../passes/quantize/mix/types.ts'
import { applyWeights, storeAlone } from '../../passes/quantize/weights/apply.ts'
import type { WeightPlan } from '../../passes/quantize/weights/plan.ts'
import type { Model, Tensor, Value } from '../../types.ts'

/** Bytes of the file that a model would be; `undefined` where there are no files. */
export type BytesOf = (model: Model) => number | undefined

/** Bytes beside elements and what channels have. */
export interface Spelled {
  /** Of a weight in a type, by `spelledKey`; an estimate stands for what is absent. */
  readonly own: ReadonlyMap<string, number>
  /** What the file holds once, however many of some weights in some types it holds, by `spelledKey`. */
  readonly shared: readonly { readonly by: ReadonlySet<string>; readonly bytes: number }[]
}

/** Less than this is the difference between two names. */
const leastShared = 32

/** Writes every weight in each of its types: alone, twice, and where twice is less than two, beside others of which that is so. */
export function spelledIn(model: Model, parts: readonly Part[], bytesOf: BytesOf): Spelled {
  const alone = new Map<string, { readonly plan: WeightPlan; readonly bytes: number }>()
  const shared: { readonly first: WeightPlan; readonly by: Set<string>; bytes: number }[] = []
  const added = (...plans: readonly WeightPlan[]): number => addedBytes(model, plans, bytesOf) ?? 0
  for (const { ways } of parts)
    for (const { type, plans } of ways)
      for (const plan of plans) {
        const bytes = addedBytes(model, [plan], bytesOf)
        if (bytes === undefined) continue
        const key = spelledKey(type, plan.id)
        alone.set(key, { plan, bytes })
        const once = 2 * bytes - added(plan, plan)
        if (once < leastShared) continue
        // What two copies share may be more, such as their shape.
        const held = shared.map((s) => bytes + added(s.first) - added(plan, s.first))
        const same = shared[held.findIndex((h) => h >= leastShared)]
        if (same) {
          same.by.add(key)
          same.bytes = Math.min(same.bytes, held[shared.indexOf(same)] as number)
        } else shared.push({ first: plan, by: new Set([key]), bytes: once })
      }
  const own = new Map(
    [...alone].map(([key, { plan, bytes }]) => {
      const { elements, channels } = storedSize(plan, constant(model.graph, plan.id) as Tensor)
      const once = shared.find((s) => s.by.has(key))?.bytes ?? 0
      return [key, bytes - once + floatBytes(model, plan) - elements - channels]
    })
  )
  return { own, shared }
}

const floatBytes = ({ graph }: Model, { id }: WeightPlan): number => tensorBytes(constant(graph, id) as Tensor)

/** Under which the bytes of a weight in a type are found. */
export const spelledKey = (type: Way['type'], id: string): string => `${type} ${id}`

/** What storing some weights, or one twice, each by its plan, adds to a file of nothing else. */
function addedBytes(model: Model, given: readonly WeightPlan[], bytesOf: BytesOf): number | undefined {
  const values = given.map(({ id }, i): Value => {
    const own = model.graph.values.get(id) as Value
    return given.findIndex((g) => g.id === id) === i ? own : backwards(own)
  })
  const floats = modelOf(model, values)
  const plans = given.map((p, i) => ({ ...p, id: values[i]?.id ?? p.id }))
  const stored = applyWeights(floats, plans, (w, data) => storeAlone(w, data, { hqq: false, isSparse: false }))
  const [before, after] = [bytesOf(floats), bytesOf(stored)]
  return before === undefined || after === undefined ? undefined : after - before
}

/** Bytes of a constant in a file, beside those of its name and type: stored by a plan, or as its form says. */
export function storedBytes(
  model: Model,
  id: string,
  plan: WeightPlan | undefined,
  bytesOf: BytesOf
): number | undefined {
  const { form: _, sparse, ...plain } = model.graph.values.get(id) as Value
  const held = modelOf(model, [model.graph.values.get(id) as Value])
  const stored = plan
    ? applyWeights(held, [plan], (w, data) => storeAlone(w, data, { hqq: false, isSparse: sparse !== undefined }))
    : held
  const [before, after] = [bytesOf(modelOf(model, [plain])), bytesOf(stored)]
  return before === undefined || after === undefined
    ? undefined
    : after - before + tensorBytes(constant(model.graph, id) as Tensor)
}

/** The same numbers in another order, as what is equal is held once; under a name of the same length. */
function backwards(own: Value): Value {
  const { id, data } = own
  const other = data && tensor(data.dtype, data.shape, toFloats(data).toReversed())
  return { ...own, id: `${id.slice(0, -1)}~`, ...(other ? { data: other } : {}) }
}

/** Constants, each an output. */
function modelOf(model: Model, constants: readonly Value[]): Model {
  const outputs = constants.map(({ id, data: _, ...type }) => ({ ...type, id: `${id}_y` }))
  const values = new Map([...constants, ...outputs].map((v) => [v.id, v]))
  const nodes = outputs.map(({ id }, i) => ({
    ...{ name: id, op: 'Identity', domain: '', inputs: [constants[i]?.id ?? ''], outputs: [id], attrs: {} }
  }))
  return { ...model, graph: { ...model.graph, values, nodes, inputs: [], outputs: outputs.map((v) => v.id) } }
}
