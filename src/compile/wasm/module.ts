/**
 * A program as one WebAssembly module: constants at the front of its memory, values at its end, so that whatever would be read
 * or written behind them traps, and one function `run`. A custom section `pare` says in JSON what the inputs and outputs are and where they lie, so that the file explains itself.
 */
import { PareError } from '../../base/errors.ts'
import type { Dim, DType } from '../../types.ts'
import type { Port, Program, Run } from '../program.ts'
import { calledBy } from '../shared.ts'
import { type BytesDot, inFours } from './dots.ts'
import { encodeModule, leb, page, type WasmCode, type WasmFunction } from './encoder.ts'
import { printWasm } from './print.ts'
import { relaxedSection } from './variants.ts'

interface OpenPort extends Pick<Port, 'name' | 'dtype'> {
  readonly shape: readonly Dim[]
}

export interface Ports {
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
}

/** What a module says of itself. Offsets are addresses in its memory. */
export interface ModuleNote extends Ports {
  readonly version: 1
  /** For inputs of other sizes: what the exports `run1`, `run2` and so on read and write. */
  readonly others?: readonly Ports[]
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
  const portsOf = ({ inputs, outputs }: Ports): Ports => ({ inputs: inputs.map(moved), outputs: outputs.map(moved) })
  const note: ModuleNote = {
    version: 1,
    ...portsOf(program),
    ...(program.others.length > 0 ? { others: program.others.map(portsOf) } : {}),
    ...{ constants: program.constants.length, arena: program.arena, unshared: program.unshared },
    ...tunedOf([program, ...(relaxed ? [relaxed] : [])])
  }
  const own = codeOf(program, values)
  const other = relaxed && codeOf(relaxed, values)
  const isOther = other && JSON.stringify(other) !== JSON.stringify(own)
  if (isOther && !turnsToFours(other, codeOf(relaxed as Program, values, 'fours')))
    throw new PareError('E_INTERNAL', 'code that holds the bytes of a product by chance')
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

/** A module whose steps are exports of their own, `step0`, `step1` and so on, so that each can be timed. `dots`: how bytes are multiplied. */
export function steppedOf(program: Program, dots?: BytesDot): Uint8Array<ArrayBuffer> {
  const { pages, values } = roomOf(program)
  const { exports, ...code } = codeOf(program, values, dots)
  const count = runsOf(program).reduce((n, { routines }) => n + routines.length, program.init.length)
  const first = (exports.run as number) - count
  const steps = program.routines.map((r, i) => [r.name, first + i] as const)
  return encodeModule({
    ...code,
    exports: { ...exports, ...Object.fromEntries(steps) },
    memory: pages * page,
    data: program.constants,
    note: { name: section, text: '' }
  })
}

/** Does `inFours` make of code just what is printed with `fours`? */
const turnsToFours = ({ functions }: WasmCode, fours: WasmCode): boolean =>
  functions.every(({ code }, i) =>
    inFours(Uint8Array.from(code)).every((byte, k) => byte === fours.functions[i]?.code[k])
  )

const sameConstants = (a: Program, b: Program): boolean =>
  a.constants.length === b.constants.length && a.constants.every((x, i) => x === b.constants[i])

const runsOf = (program: Program): readonly Run[] => [program, ...program.others]

/** Every way to run a module: its export, and what that reads and writes. */
export const waysToRun = ({ others = [], ...first }: ModuleNote): readonly (Ports & { readonly run: string })[] =>
  [first, ...others].map(({ inputs, outputs }, i) => ({ run: i === 0 ? 'run' : `run${i}`, inputs, outputs }))

/** The way to run that takes inputs of these sizes. */
export const wayFor = <W extends Ports>(
  ways: readonly W[],
  feeds: Readonly<Record<string, { readonly shape: readonly number[] }>>
): W | undefined => ways.find((w) => w.inputs.every((p) => feeds[p.name]?.shape.join() === p.shape.join()))

/** Inputs and outputs with a symbol for sizes along which the ways to run differ. */
export function openPorts(note: ModuleNote): {
  readonly inputs: readonly OpenPort[]
  readonly outputs: readonly OpenPort[]
} {
  const ways = waysToRun(note)
  const open = (what: 'inputs' | 'outputs'): OpenPort[] =>
    note[what].map((p, i) => ({
      ...{ name: p.name, dtype: p.dtype },
      shape: p.shape.map((d, axis) => (ways.every((w) => w[what][i]?.shape[axis] === d) ? d : 'N'))
    }))
  return { inputs: open('inputs'), outputs: open('outputs') }
}

/** `values`: where values begin. */
function codeOf(program: Program, values: number, dots?: BytesDot): WasmCode {
  const { init } = program
  const runs = runsOf(program).map((r) => r.routines)
  const steps = [...runs.flat(), ...init]
  const called = calledBy(steps)
  const functions = [...called.routines, ...steps].map((r) =>
    printWasm(r, { constants: 0, values }, called.indexOf, dots)
  )
  const calls = (from: number, to: number): WasmFunction => ({
    ...{ params: 0, locals: [] },
    code: Array.from({ length: to - from }, (_, i) => [0x10, ...leb(from + i)]).flat()
  })
  let at = called.routines.length
  const all = [...runs, init].map(({ length }) => {
    at += length
    return calls(at - length, at)
  })
  const used = init.length > 0 ? all : all.slice(0, -1)
  return {
    functions: [...functions, ...used],
    exports: Object.fromEntries(runs.map((_, i) => [i === 0 ? 'run' : `run${i}`, functions.length + i])),
    ...(init.length > 0 ? { start: functions.length + runs.length } : {})
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
  const others = n?.others ?? []
  if (!Array.isArray(others)) return false
  const ports = [n, ...others].flatMap((p: Partial<Ports> | null | undefined) => [p?.inputs, p?.outputs])
  return (
    n?.version === 1 &&
    isCount(n.arena) &&
    isCount(n.constants) &&
    (n.tuned === undefined || (typeof n.tuned === 'object' && n.tuned !== null)) &&
    ports.every((p) => Array.isArray(p) && p.every(isPort))
  )
}
