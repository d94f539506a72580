/**
 * Runs a compiled model where every byte outside what it may touch is watched. The values of a module end where its memory
 * does, so that an access behind them traps. What lies before them must be as it was, and all values, the room before them too,
 * hold NaN (or −1) when a run begins, so that a result made of anything that was not written shows.
 */
import { lower, noteOf, wasmOf } from '../src/compile/index.ts'
import { bytesOf, tensor, tensorOf, toNumbers } from '../src/ir/tensor.ts'
import type { Model, Tensor } from '../src/types.ts'

const poison = 0xff

/** Outputs by name. Throws what `lower` throws, and an Error that says which byte was written. */
export function confined(
  model: Model,
  feeds: Readonly<Record<string, Tensor>>,
  { fastest = {} }: { readonly fastest?: Readonly<Record<string, string>> } = {}
): Record<string, Tensor> {
  const program = lower(model, { compact: false, fastest })
  const bytes = wasmOf(program)
  const note = noteOf(bytes)
  const { memory, run } = new WebAssembly.Instance(new WebAssembly.Module(bytes)).exports as {
    readonly memory: WebAssembly.Memory
    readonly run: () => void
  }
  const all = new Uint8Array(memory.buffer)
  const values = all.length - Math.ceil(program.arena / 64) * 64
  const begun = note.inputs[0]?.offset ?? note.outputs[0]?.offset ?? values
  if (begun < values) throw new Error(`a port lies at ${begun}, in front of the values at ${values}`)
  const constants = all.slice(0, note.constants)
  all.fill(poison, note.constants)
  for (const { name, dtype, offset } of note.inputs) {
    const t = feeds[name] as Tensor
    const data = dtype === 'int64' ? bytesOf(Int32Array.from(toNumbers(t))) : t.bytes.slice()
    all.set(data, offset)
  }
  run()
  const changed = constants.findIndex((x, i) => all[i] !== x)
  if (changed >= 0) throw new Error(`constant byte ${changed} was written`)
  const outside = all.subarray(note.constants, values).findIndex((x) => x !== poison)
  if (outside >= 0) throw new Error(`byte ${note.constants + outside} was written, and values begin at ${values}`)
  return Object.fromEntries(
    note.outputs.map(({ name, dtype, shape, offset }): [string, Tensor] => {
      const count = shape.reduce((n, d) => n * d, 1)
      if (dtype === 'int64')
        return [name, tensor(dtype, shape, Array.from(new Int32Array(memory.buffer, offset, count)))]
      const each = dtype === 'float32' || dtype === 'int32' ? 4 : 1
      return [name, tensorOf(dtype, shape, all.slice(offset, offset + count * each))]
    })
  )
}
