/** TensorFlow Lite files run as they are, in LiteRT, and as what is read from them, in ONNX Runtime. */
import { readModel, writeModel } from '../src/formats/index.ts'
import { tflite } from '../src/formats/tflite/format.ts'
import { elementCount, isFloat, rangeOf, tensor, toNumbers } from '../src/ir/tensor.ts'
import { liteRtRunner, nodeRunner } from '../src/node/index.ts'
import type { Runner } from '../src/runtime/types.ts'
import type { DType, Model, Tensor } from '../src/types.ts'
import { saturatesHere } from './compare.ts'

/** Its package is a development dependency. */
const liteRt = liteRtRunner() as Runner

export const readFlatFile = (bytes: Uint8Array): Model => readModel(bytes, { formats: [tflite] })

/** Seeded numbers of a type: floats of ±1, codes over their range, small integers that are places or truth values otherwise. */
export function drawn(dtype: DType, shape: readonly number[], seed = 1): Tensor {
  let state = seed * 2654435761
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
  const codes = dtype === 'int8' || dtype === 'uint8' || dtype === 'int16' ? rangeOf(dtype) : { min: 0, max: 1 }
  const value = (): number =>
    isFloat(dtype) ? 2 * next() - 1 : Math.floor(codes.min + next() * (codes.max - codes.min + 1))
  return tensor(dtype, shape, Array.from({ length: elementCount(shape) }, value))
}

export interface Both {
  readonly inONNX: readonly Tensor[]
  readonly inFile: readonly Tensor[]
}

/** The outputs of both, in order; `feeds` by place, drawn where absent. */
export async function both(bytes: Uint8Array, feeds: readonly (Tensor | undefined)[] = []): Promise<Both> {
  const model = readFlatFile(bytes)
  const given = fed(model, feeds)
  const inONNX = await inOnnxRuntime(model, given)
  const session = await liteRt.open(bytes)
  try {
    const out = await session.run(
      named(
        session.inputs.map((v) => v.name),
        given
      )
    )
    return { inONNX, inFile: session.outputs.map((v) => out[v.name] as Tensor) }
  } finally {
    await session.close()
  }
}

/** The outputs of what is read from a file, in order. */
export async function inOnnxRuntime(
  model: Model,
  feeds: readonly (Tensor | undefined)[] = []
): Promise<readonly Tensor[]> {
  // Without the runtime's own optimisation Q/DQ pairs are computed in float, exactly: nothing saturates.
  const session = await nodeRunner().open(
    writeModel(model).bytes,
    saturatesHere(model) ? { optimization: 'disabled' } : {}
  )
  try {
    const out = await session.run(named(model.graph.inputs, fed(model, feeds)))
    return model.graph.outputs.map((id) => out[id] as Tensor)
  } finally {
    await session.close()
  }
}

const named = (names: readonly string[], all: readonly Tensor[]): Record<string, Tensor> =>
  Object.fromEntries(names.map((name, i) => [name, all[i] as Tensor]))

const fed = ({ graph }: Model, feeds: readonly (Tensor | undefined)[]): readonly Tensor[] =>
  graph.inputs.map((id, i) => {
    const { dtype = 'float32', shape = [] } = graph.values.get(id) ?? {}
    return (
      feeds[i] ??
      drawn(
        dtype,
        shape.map((d) => (typeof d === 'number' ? d : 1)),
        i + 1
      )
    )
  })

/** The largest difference of two outputs; of different shapes it is infinite. */
export function distance(a: Tensor, b: Tensor): number {
  const [x, y] = [toNumbers(a), toNumbers(b)]
  if (x.length !== y.length || a.dtype !== b.dtype) return Number.POSITIVE_INFINITY
  let most = 0
  for (let i = 0; i < x.length; i++) {
    const d = Math.abs((x[i] as number) - (y[i] as number))
    if (!(d <= most) && !Object.is(x[i], y[i])) most = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d
  }
  return most
}
