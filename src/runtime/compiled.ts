/** The Runner of compiled models: each is a WebAssembly module of its own, which needs no package. */
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { fastestOf, moduleOf, noteOf, openPorts, type Ports, wayFor, waysToRun } from '../compile/index.ts'
import { bind } from '../ir/bind.ts'
import { bytesOf, elementCount, tensor, tensorOf, toNumbers } from '../ir/tensor.ts'
import type { Dim, DType, Model, Tensor } from '../types.ts'
import type { Runner, Session } from './types.ts'

export const compiledRuntime = 'pare-wasm'

/**
 * `version`: of Pare. Bytes of a compiled module run in this process, whoever made them: their code sees no memory but its own,
 * but may compute without end.
 */
export function compiledRunner(version: string): Runner {
  return {
    name: compiledRuntime,
    version,
    can: { kernels: false, profile: false, external: false, threads: 1, formats: ['wasm'] },
    open: async (source) => {
      if ('graph' in source) return ofModel(source)
      if ('path' in source) throw new PareError('E_UNSUPPORTED', 'there are no files here')
      return ofBytes(Uint8Array.from(toArray(source)))
    }
  }
}

interface Instance {
  readonly memory: WebAssembly.Memory
  /** For every set of sizes of the inputs. */
  readonly ways: readonly (Ports & { run(): void })[]
}

/** In the memory of a module, where 64-bit whole numbers take 32 bits. */
const bytesEach = (dtype: DType): number => (dtype === 'float32' || dtype === 'int32' || dtype === 'int64' ? 4 : 1)

async function instantiate(bytes: Uint8Array<ArrayBuffer>): Promise<Instance> {
  const note = noteOf(bytes)
  let exports: WebAssembly.Exports
  try {
    exports = (await WebAssembly.instantiate(fastestOf(bytes))).instance.exports
  } catch (cause) {
    throw new PareError('E_FORMAT', 'a WebAssembly module that does not load', {
      facts: { why: cause instanceof Error ? cause.message : String(cause) },
      cause
    })
  }
  const { memory, ...functions } = exports as { readonly memory?: WebAssembly.Memory } & Record<string, () => void>
  const ways = waysToRun(note).map((w) => ({ ...w, run: functions[w.run] as () => void }))
  if (!memory || ways.some((w) => !w.run)) throw new PareError('E_FORMAT', 'a WebAssembly module without memory or run')
  for (const p of ways.flatMap((w) => [...w.inputs, ...w.outputs]))
    if (
      p.offset % bytesEach(p.dtype) !== 0 ||
      p.offset + elementCount(p.shape) * bytesEach(p.dtype) > memory.buffer.byteLength
    )
      throw new PareError('E_FORMAT', `${p.name} of a WebAssembly module lies outside its memory`)
  return { memory, ways }
}

async function ofBytes(bytes: Uint8Array<ArrayBuffer>): Promise<Session> {
  const began = performance.now()
  const instance = await instantiate(bytes)
  const { inputs, outputs } = openPorts(noteOf(bytes))
  return {
    ...{ inputs, outputs, loadMs: performance.now() - began },
    run: async (feeds) => ran(instance, feeds),
    close: async () => undefined
  }
}

/** A model with free sizes is compiled for those of each run, and kept for the next of the same sizes. */
async function ofModel(model: Model): Promise<Session> {
  const began = performance.now()
  const { graph } = model
  const known = new Map<string, Promise<Instance>>()
  const instanceFor = (sizes: Readonly<Record<string, number>>): Promise<Instance> => {
    const key = JSON.stringify(Object.entries(sizes).sort())
    const made = known.get(key) ?? instantiate(moduleOf(bind(model, sizes)))
    known.set(key, made)
    return made
  }
  const io = (id: string): Session['inputs'][number] => {
    const { dtype, shape } = graph.values.get(id) ?? {}
    return { name: id, ...(dtype ? { dtype } : {}), ...(shape ? { shape } : {}) }
  }
  // What cannot be compiled is told at opening, as other runtimes do.
  await instanceFor(
    symbolsOf(
      graph.inputs.map((id) => graph.values.get(id)?.shape),
      (_, axis) => (axis === 0 ? 1 : 16)
    )
  )
  return {
    ...{ inputs: graph.inputs.map(io), outputs: graph.outputs.map(io), loadMs: performance.now() - began },
    run: async (feeds) => {
      const shapes = graph.inputs.map((id) => graph.values.get(id)?.shape)
      const sizes = symbolsOf(shapes, (input, axis) => feeds[graph.inputs[input] as string]?.shape[axis] ?? 1)
      return ran(await instanceFor(sizes), feeds)
    },
    close: async () => known.clear()
  }
}

function symbolsOf(
  shapes: readonly (readonly Dim[] | undefined)[],
  size: (input: number, axis: number) => number
): Record<string, number> {
  const out: Record<string, number> = {}
  shapes.forEach((shape, input) => {
    shape?.forEach((d, axis) => {
      if (typeof d === 'string' && d !== '?' && /^[A-Za-z_][\w.]*$/.test(d)) out[d] ??= size(input, axis)
    })
  })
  return out
}

function ran({ memory, ways }: Instance, feeds: Readonly<Record<string, Tensor>>): Record<string, Tensor> {
  const { inputs, outputs, run } = wayFor(ways, feeds) ?? (ways[0] as (typeof ways)[number])
  for (const [i, { name, dtype, shape, offset }] of inputs.entries()) {
    const t = feeds[name]
    if (!t) throw new PareError('E_RUN', `input ${name} is missing`)
    const taken = ways.map((w) => `[${w.inputs[i]?.shape}]`).join(' or ')
    if (t.dtype !== dtype || t.shape.join() !== shape.join())
      throw new PareError('E_RUN', `input ${name} is ${dtype} ${taken}, and was given ${t.dtype} [${t.shape}]`)
    const bytes = dtype === 'int64' ? bytesOf(Int32Array.from(toNumbers(t))) : toArray(t.bytes)
    new Uint8Array(memory.buffer, offset, bytes.length).set(bytes)
  }
  try {
    run()
  } catch (cause) {
    throw new PareError('E_RUN', 'a compiled model fails while it runs', {
      facts: { why: cause instanceof Error ? cause.message : String(cause) },
      cause
    })
  }
  return Object.fromEntries(
    outputs.map(({ name, dtype, shape, offset }): [string, Tensor] => {
      const count = elementCount(shape)
      if (dtype === 'int64')
        return [name, tensor('int64', shape, Array.from(new Int32Array(memory.buffer, offset, count)))]
      const end = offset + count * bytesEach(dtype)
      return [name, tensorOf(dtype, shape, new Uint8Array(memory.buffer.slice(offset, end)))]
    })
  )
}
