/** Debian's ONNX conformance cases: a model with inputs and the outputs they must give. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fromBinary } from '@bufbuild/protobuf'
import { ModelProtoSchema, TensorProtoSchema } from 'onnx-buf'
import * as ort from 'onnxruntime-node'
import { readTensor } from '../src/formats/onnx/tensors.ts'
import { bytesOf, toNumbers, typedValues } from '../src/ir/tensor.ts'
import type { Tensor } from '../src/types.ts'

export interface Case {
  readonly name: string
  readonly model: Uint8Array
  readonly sets: readonly { readonly inputs: readonly Tensor[]; readonly outputs: readonly Tensor[] }[]
}

/** Names of all cases in the folder, as `kind/test_name`. */
export function caseNames(folder: string): string[] {
  return readdirSync(folder)
    .sort()
    .flatMap((kind) =>
      readdirSync(join(folder, kind))
        .sort()
        .map((name) => `${kind}/${name}`)
    )
    .filter((name) => existsSync(join(folder, name, 'model.onnx')))
}

/** Reads a case; `undefined` where inputs or outputs are no tensors. */
export function readCase(folder: string, name: string): Case | undefined {
  const path = join(folder, name)
  const model = new Uint8Array(readFileSync(join(path, 'model.onnx')))
  const { graph } = fromBinary(ModelProtoSchema, model)
  const ends = [...(graph?.input ?? []), ...(graph?.output ?? [])]
  if (ends.some((v) => v.type?.value.case !== 'tensorType')) return undefined
  const sets = readdirSync(path)
    .filter((d) => d.startsWith('test_data_set_'))
    .sort()
    .map((d) => ({ inputs: values(join(path, d), 'input'), outputs: values(join(path, d), 'output') }))
  return { name, model, sets }
}

function values(path: string, kind: string): Tensor[] {
  const out: Tensor[] = []
  for (let i = 0; existsSync(join(path, `${kind}_${i}.pb`)); i++) {
    const bytes = new Uint8Array(readFileSync(join(path, `${kind}_${i}.pb`)))
    const noFile = (): never => {
      throw new Error('an external file')
    }
    out.push(readTensor(fromBinary(TensorProtoSchema, bytes), { bytes, external: noFile, grow: () => {} }))
  }
  return out
}

/** Runs a model on a case; the reason why it does not give the expected outputs, `undefined` when it does. */
export async function failureOf(model: Uint8Array, c: Case): Promise<string | undefined> {
  let session: ort.InferenceSession | undefined
  try {
    session = await ort.InferenceSession.create(model, {
      logSeverityLevel: 4,
      intraOpNumThreads: 1,
      interOpNumThreads: 1
    })
    for (const set of c.sets) {
      const feeds = Object.fromEntries(set.inputs.map((t, i) => [session?.inputNames[i] ?? '', feed(t)]))
      const made = await session.run(feeds)
      for (const [i, wanted] of set.outputs.entries()) {
        const name = session.outputNames[i] ?? ''
        const why = difference(made[name], wanted)
        if (why !== undefined) return `output ${i}: ${why}`
      }
    }
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message.split('\n')[0] : String(error)
  } finally {
    await session?.release()
  }
}

function feed(t: Tensor): ort.Tensor {
  if (t.strings) return new ort.Tensor('string', [...t.strings], t.shape)
  return new ort.Tensor(t.dtype as 'float32', typedValues(t) as Float32Array, t.shape)
}

/** ONNX's own tolerance: 1e-3 relative; 1e-5 absolute for what is nearly zero. */
function difference(made: ort.Tensor | undefined, wanted: Tensor): string | undefined {
  if (!made) return 'missing'
  if (String(made.dims) !== String(wanted.shape)) return `shape [${made.dims}], not [${wanted.shape}]`
  if (made.type !== wanted.dtype) return `type ${made.type}, not ${wanted.dtype}`
  const a = numbersOf(made)
  const b: ArrayLike<unknown> = wanted.strings ?? toNumbers(wanted)
  for (let i = 0; i < b.length; i++) if (!same(a[i], b[i])) return `element ${i}: ${a[i]}, not ${b[i]}`
  return undefined
}

/** Elements as they compare; float16 comes as bits. */
function numbersOf(t: ort.Tensor): ArrayLike<unknown> {
  const data = t.data as ArrayLike<unknown>
  if (t.type !== 'float16') return data
  return toNumbers({ dtype: 'float16', shape: t.dims, bytes: bytesOf(data as Uint16Array) })
}

function same(a: unknown, b: unknown): boolean {
  if (typeof a === 'string') return a === b
  const [x, y] = [Number(a), Number(b)]
  return Object.is(x, y) || x === y || Math.abs(x - y) <= 1e-5 + 1e-3 * Math.abs(y)
}
