/**
 * A program as one WebAssembly module: constants at the front of its memory, values at its end, so that whatever would be read
 * or written behind them traps, and one function `run`. A custom section `pare` says in JSON what the inputs and outputs are and where they lie, so that the file explains itself.
 */
import { PareError } from '../../base/errors.ts'
import type { DType } from '../../types.ts'
import type { Port, Program } from '../lower.ts'
import { calledBy } from '../shared.ts'
import { encodeModule, leb, page, type WasmCode, type WasmFunction } from './encoder.ts'
import { printWasm } from './print.ts'
import { relaxedSection } from './variants.ts'

/** What a module says of itself. Offsets are addresses in its memory. */
export interface ModuleNote {
  readonly version: 1
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
  /** Bytes of constants, and of values while it runs: shared, and what they would take if none shared any. */
  readonly constants: number
  readonly arena: number
  readonly unshared: number
  /** How kernels are cut that were measured, where that is not what the rule of costs says. */
  readonly tuned?: Readonly<Record<string, string>>
}

const section = 'pare'
const aligned = (n: number): number => Math.ceil(n / 64) * 64

/**
 * `relaxed`: the same program with products of bytes, which lies beside it in the file where it differs. Their constants, and
 * where values lie, are the same.
 */
export function wasmOf(program: Program, relaxed?: Program): Uint8Array<ArrayBuffer> {
  const { pages, values } = roomOf(program)
  const moved = (p: Port): Port => ({ ...p, offset: p.offset + values })
  const note: ModuleNote = {
    version: 1,
    inputs: program.inputs.map(moved),
    outputs: program.outputs.map(moved),
    ...{ constants: program.constants.length, arena: program.arena, unshared: program.unshared },
    ...tunedOf([program, ...(relaxed ? [relaxed] : [])])
  }
  const own = codeOf(program, values)
  const other = relaxed && codeOf(relaxed, values)
  const isOther = other && JSON.stringify(other) !== JSON.stringify(own)
  if (isOther && !sameConstants(program, relaxed as Program))
    throw new PareError('E_INTERNAL', 'two variants of a module with different constants')
  return encodeModule({
    ...own,
    memory: pages * page,
    data: program.constants,
    note: { name: section, text: JSON.stringify(note) },
    ...(isOther ? { variant: { ...other, name: relaxedSection } } : {})
  })
}

/** Pages of memory, and where values begin in it. */
function roomOf({ constants, arena }: Program): { readonly pages: number; readonly values: number } {
  const pages = Math.ceil((aligned(constants.length) + aligned(arena)) / page)
  return { pages, values: pages * page - aligned(arena) }
}

function tunedOf(programs: readonly Program[]): Pick<ModuleNote, 'tuned'> {
  const kernels = programs.flatMap((p) => p.kernels).filter((k) => k !== undefined)
  const tuned = kernels.filter(({ ways, way }) => way !== ways[0]).map(({ key, way }) => [key, way] as const)
  return tuned.length > 0 ? { tuned: Object.fromEntries(tuned) } : {}
}

/** A module whose steps are exports of their own, `step0`, `step1` and so on, so that each can be timed. */
export function steppedOf(program: Program): Uint8Array<ArrayBuffer> {
  const { pages, values } = roomOf(program)
  const { exports, ...code } = codeOf(program, values)
  const first = (exports.run as number) - program.routines.length - program.init.length
  const steps = program.routines.map((r, i) => [r.name, first + i] as const)
  return encodeModule({
    ...code,
    exports: { ...exports, ...Object.fromEntries(steps) },
    memory: pages * page,
    data: program.constants,
    note: { name: section, text: '' }
  })
}

const sameConstants = (a: Program, b: Program): boolean =>
  a.constants.length === b.constants.length && a.constants.every((x, i) => x === b.constants[i])

/** `values`: where values begin. */
function codeOf({ routines, init }: Program, values: number): WasmCode {
  const steps = [...routines, ...init]
  const called = calledBy(steps)
  const functions = [...called.routines, ...steps].map((r) => printWasm(r, { constants: 0, values }, called.indexOf))
  const calls = (from: number, to: number): WasmFunction => ({
    ...{ params: 0, locals: [] },
    code: Array.from({ length: to - from }, (_, i) => [0x10, ...leb(from + i)]).flat()
  })
  const first = called.routines.length
  const behind = first + routines.length
  return {
    functions: [...functions, calls(first, behind), ...(init.length > 0 ? [calls(behind, functions.length)] : [])],
    exports: { run: functions.length },
    ...(init.length > 0 ? { start: functions.length + 1 } : {})
  }
}

const magic = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]

/** Do bytes begin as a WebAssembly module does? */
export const isWasm = (head: Uint8Array): boolean => magic.every((b, i) => head[i] === b)

/** What a compiled module says of itself. Throws `E_FORMAT` where it says nothing that can be used. */
export function noteOf(bytes: Uint8Array): ModuleNote {
  const fail = (what: string): never => {
    throw new PareError('E_FORMAT', `a WebAssembly module ${what}`, { hint: 'pare compile model.onnx writes one' })
  }
  if (!isWasm(bytes) || bytes[8] !== 0) fail('that Pare did not compile')
  let at = 9
  const number = (): number => {
    let [value, shift] = [0, 0]
    for (;;) {
      const byte = bytes[at++]
      if (byte === undefined || shift > 28) return fail('that is cut off')
      value += (byte & 0x7f) * 2 ** shift
      if (byte < 0x80) return value
      shift += 7
    }
  }
  const end = number() + at
  const name = number()
  const text = (from: number, to: number): string => new TextDecoder().decode(bytes.subarray(from, to))
  if (text(at, at + name) !== section || end > bytes.length) fail('that Pare did not compile')
  let note: unknown
  try {
    note = JSON.parse(text(at + name, end))
  } catch {
    fail('whose description cannot be read')
  }
  return isNote(note) ? note : fail('whose description cannot be read')
}

const dtypes: readonly DType[] = ['float32', 'int64', 'int32', 'bool', 'uint8', 'int8']
const isCount = (x: unknown): x is number => Number.isSafeInteger(x) && (x as number) >= 0
const isPort = (x: unknown): x is Port => {
  const p = x as Partial<Port> | null
  return (
    typeof p?.name === 'string' &&
    dtypes.includes(p.dtype as DType) &&
    isCount(p.offset) &&
    Array.isArray(p.shape) &&
    p.shape.every(isCount)
  )
}

function isNote(x: unknown): x is ModuleNote {
  const n = x as Partial<ModuleNote> | null
  const ports = [n?.inputs, n?.outputs]
  return (
    n?.version === 1 &&
    isCount(n.arena) &&
    isCount(n.constants) &&
    (n.tuned === undefined || (typeof n.tuned === 'object' && n.tuned !== null)) &&
    ports.every((p) => Array.isArray(p) && p.every(isPort))
  )
}
