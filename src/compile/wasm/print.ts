/** Loops as WebAssembly: one function a routine, vectors as v128. Opcodes: WebAssembly 2.0, appendix "Index of Instructions". */
import type { Binary, Cell, Expr, Local, Packed, Relation, Routine, Space, Stmt, Unary } from '../../ir/loops.ts'
import { rootsOf, sharedIn } from '../shared.ts'
import { type BytesDot, bytesDot } from './dots.ts'
import { leb, sleb, type WasmFunction, type WasmType } from './encoder.ts'

const simd = (op: number): number[] => [0xfd, ...leb(op)]

const scalarUnary: Readonly<Record<Unary, number>> = {
  abs: 0x8b,
  neg: 0x8c,
  ceil: 0x8d,
  floor: 0x8e,
  nearest: 0x90,
  sqrt: 0x91
}
const vectorUnary: Readonly<Record<Unary, number>> = {
  ceil: 0x67,
  floor: 0x68,
  nearest: 0x6a,
  abs: 0xe0,
  neg: 0xe1,
  sqrt: 0xe3
}
const scalarBinary: Readonly<Record<Binary, number>> = {
  add: 0x92,
  sub: 0x93,
  mul: 0x94,
  div: 0x95,
  min: 0x96,
  max: 0x97
}
// pmin and pmax: one instruction each, where f32x4.min and .max are several.
const vectorBinary: Readonly<Record<Binary, number>> = {
  add: 0xe4,
  sub: 0xe5,
  mul: 0xe6,
  div: 0xe7,
  min: 0xea,
  max: 0xeb
}
const wholeBinary: Readonly<Record<string, number>> = {
  add: 0x6a,
  sub: 0x6b,
  mul: 0x6c,
  div: 0x6d,
  rem: 0x6f,
  and: 0x71,
  or: 0x72,
  xor: 0x73,
  shl: 0x74,
  shr: 0x75
}
const wholeRelation: Readonly<Record<Relation, number>> = { eq: 0x46, ne: 0x47, lt: 0x48, gt: 0x4a, le: 0x4c, ge: 0x4e }
const scalarRelation: Readonly<Record<Relation, number>> = {
  eq: 0x5b,
  ne: 0x5c,
  lt: 0x5d,
  gt: 0x5e,
  le: 0x5f,
  ge: 0x60
}
const vectorRelation: Readonly<Record<Relation, number>> = {
  eq: 0x41,
  ne: 0x42,
  lt: 0x43,
  gt: 0x44,
  le: 0x45,
  ge: 0x46
}
const loads: Readonly<Record<Cell, readonly number[]>> = {
  f32: [0x2a, 0x02],
  i32: [0x28, 0x02],
  i8: [0x2c, 0x00],
  u8: [0x2d, 0x00]
}
const stores: Readonly<Record<Cell, readonly number[]>> = {
  f32: [0x38, 0x02],
  i32: [0x36, 0x02],
  i8: [0x3a, 0x00],
  u8: [0x3a, 0x00]
}

/** Of lanes of whole numbers. */
const laneBinary: Readonly<Record<string, number>> = {
  add: 0xae,
  sub: 0xb1,
  mul: 0xb5,
  min: 0xb6,
  max: 0xb8,
  and: 0x4e,
  or: 0x50,
  xor: 0x51
}
/** The others leave the bits as they are. */
const laneConvert: Readonly<Record<string, readonly number[]>> = { float: simd(0xfa), whole: simd(0xf8) }
const laneShifts: Readonly<Record<string, number>> = { shl: 0xab, shr: 0xac }

const laneBytes = (l: number): number[] => [0, 1, 2, 3].flatMap(() => [0, 1, 2, 3].map((b) => 4 * l + b))
const shuffle = (...from: readonly number[]): number[] => [...simd(0x0d), ...from]
const shift16 = (by: number, op: number): number[] => [0x41, by, ...simd(op)]
const narrowed = [...simd(0x85)]
const [low, high] = [simd(0x89), simd(0x8a)]
const zipLow = shuffle(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
const zipHigh = shuffle(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
/** What stands behind the operands; four of them stand two by two (`narrowing`). */
const packed: Readonly<Record<Packed, readonly number[]>> = {
  dotPairs: simd(0xba),
  dotBytes: [],
  evens: [...simd(0x0c), ...[0, 1, 2, 3].flatMap(() => [0xff, 0x00, 0xff, 0x00]), ...simd(0x4e)],
  odds: shift16(8, 0x8d),
  signedEvens: [...shift16(8, 0x8b), ...shift16(8, 0x8c)],
  signedOdds: shift16(8, 0x8c),
  maxBytes: simd(0x79),
  bytes: [...simd(0x66)],
  zip0: [...zipLow, ...low],
  zip1: [...zipLow, ...high],
  zip2: [...zipHigh, ...low],
  zip3: [...zipHigh, ...high],
  bytesAcross: simd(0x66),
  lane0: shuffle(...laneBytes(0)),
  lane1: shuffle(...laneBytes(1)),
  lane2: shuffle(...laneBytes(2)),
  lane3: shuffle(...laneBytes(3))
}

const wholeBytes = (value: number): number[] => [...new Uint8Array(Int32Array.of(value).buffer)]
const floatBytes = (value: number): number[] => [...new Uint8Array(Float32Array.of(value).buffer)]
const wasmType = (kind: string): WasmType => (kind === 'i32' ? 'i32' : kind === 'f32' ? 'f32' : 'v128')

const isVector = (kind: string): boolean => kind === 'f32x4' || kind === 'i32x4'

/**
 * The function of a routine. `bases`: where the runs of memory begin, in bytes; `indexOfRoutine`: of functions that are called;
 * `dots`: how bytes are multiplied.
 */
export function printWasm(
  { params, body }: Routine,
  bases: Readonly<Record<Space, number>>,
  indexOfRoutine: (r: Routine) => number,
  dots: BytesDot = 'pairs'
): WasmFunction {
  const code: number[] = []
  const locals: WasmType[] = []
  const indexes = new Map<Local | Expr, number>(params.map((p, i) => [p, i]))
  const turned: Local = { name: 'turned', kind: 'i32x4' }

  const indexOf = (l: Local | Expr): number => {
    const known = indexes.get(l)
    if (known !== undefined) return known
    locals.push(wasmType(l.kind))
    const index = params.length + locals.length - 1
    indexes.set(l, index)
    return index
  }

  /** Pushes an address; what is left for the immediate. */
  function address(space: Space, e: Expr, offset: number): number {
    const total = bases[space] + offset
    if (total >= 0) {
      expr(e)
      return total
    }
    expr(e)
    code.push(0x41, ...sleb(total), 0x6a)
    return 0
  }

  function expr(e: Expr): void {
    const shared = indexes.get(e)
    if (shared !== undefined && e.is !== 'get') {
      code.push(0x20, ...leb(shared))
      return
    }
    fresh(e)
  }

  function fresh(e: Expr): void {
    switch (e.is) {
      case 'const':
        if (e.kind === 'i32') code.push(0x41, ...sleb(e.value))
        else if (e.kind === 'f32') code.push(0x43, ...floatBytes(e.value))
        else if (e.kind === 'i32x4') code.push(...simd(0x0c), ...[0, 1, 2, 3].flatMap(() => wholeBytes(e.value)))
        else code.push(...simd(0x0c), ...[0, 1, 2, 3].flatMap(() => floatBytes(e.value)))
        return
      case 'get':
        code.push(0x20, ...leb(indexOf(e.local)))
        return
      case 'load': {
        const offset = address(e.space, e.address, e.offset)
        if (isVector(e.kind)) code.push(...simd(e.splat ? 0x09 : 0x00), 0x02, ...leb(offset))
        else code.push(...(loads[e.cell] as number[]), ...leb(offset))
        return
      }
      case 'unary':
        if (e.kind === 'i32') {
          wholeUnary(e.op, e.of)
          return
        }
        expr(e.of)
        code.push(...(e.kind === 'f32' ? [scalarUnary[e.op]] : simd(vectorUnary[e.op])))
        return
      case 'binary':
        expr(e.a)
        if (e.kind === 'i32x4' && laneShifts[e.op] !== undefined) {
          code.push(0x41, ...sleb((e.b as Expr & { is: 'const' }).value), ...simd(laneShifts[e.op] as number))
          return
        }
        expr(e.b)
        if (e.kind === 'i32') code.push(wholeBinary[e.op] as number)
        else if (e.kind === 'i32x4') code.push(...simd(laneBinary[e.op] as number))
        else code.push(...(e.kind === 'f32' ? [scalarBinary[e.op as Binary]] : simd(vectorBinary[e.op as Binary])))
        return
      case 'compare':
        expr(e.a)
        expr(e.b)
        if (e.kind === 'mask') code.push(...simd(vectorRelation[e.op]))
        else code.push(((e.a as { kind: string }).kind === 'f32' ? scalarRelation : wholeRelation)[e.op])
        return
      case 'select':
        expr(e.a)
        expr(e.b)
        expr(e.when)
        code.push(...(isVector(e.kind) ? simd(0x52) : [0x1b]))
        return
      case 'splat':
        expr(e.of)
        code.push(...simd(e.kind === 'i32x4' ? 0x11 : 0x13))
        return
      case 'packed':
        narrowing(e.op, e.of)
        return
      case 'convert':
        expr(e.of)
        if (isVector(e.of.kind)) code.push(...(laneConvert[e.op] ?? []))
        else code.push(...{ float: [0xb2], whole: [0xfc, 0x00], asFloat: [0xbe], asWhole: [0xbc] }[e.op])
        return
      case 'exp2':
        expr(e.of)
        if (e.kind === 'f32') code.push(0xfc, 0x00, 0x41, ...sleb(127), 0x6a, 0x41, ...sleb(23), 0x74, 0xbe)
        else
          code.push(
            ...simd(0xf8),
            ...[0x41, ...sleb(127)],
            ...simd(0x11),
            ...simd(0xae),
            0x41,
            ...sleb(23),
            ...simd(0xab)
          )
    }
  }

  /** Operands of small numbers, and the operation; four become two, then one. */
  function narrowing(op: Packed, of: readonly Expr[]): void {
    if (op === 'dotBytes') {
      // The engine takes the signed operand first.
      const [w, x, sum] = of as [Expr, Expr, Expr]
      expr(w)
      expr(x)
      code.push(...bytesDot.before[dots])
      expr(sum)
      code.push(...bytesDot.behind[dots])
      return
    }
    for (const [i, x] of of.entries()) {
      expr(x)
      if (of.length === 4 && i % 2 === 1) code.push(...narrowed)
      if (op.startsWith('lane')) expr(x)
    }
    code.push(...packed[op])
    // Bytes of operand a, then of b, c and d become those of lane 0, 1, 2 and 3.
    if (op === 'bytes') {
      const x = leb(indexOf(turned))
      code.push(0x22, ...x, 0x20, ...x, ...shuffle(...[0, 1, 2, 3].flatMap((l) => [l, 4 + l, 8 + l, 12 + l])))
    }
  }

  function wholeUnary(op: Unary, of: Expr): void {
    if (op === 'neg') {
      code.push(0x41, 0x00)
      expr(of)
      code.push(0x6b)
      return
    }
    // |x| = (x xor s) − s with s = x >> 31; other operations leave whole numbers as they are.
    expr(of)
    if (op !== 'abs') return
    const x = indexOf({ ...of })
    code.push(0x22, ...leb(x), 0x20, ...leb(x), 0x41, 31, 0x75, 0x73, 0x20, ...leb(x), 0x41, 31, 0x75, 0x6b)
  }

  function statements(all: readonly Stmt[]): void {
    for (const s of all) {
      const shared = sharedIn(rootsOf(s))
      for (const e of shared) {
        fresh(e)
        code.push(0x21, ...leb(indexOf(e)))
      }
      one(s)
      for (const e of shared) indexes.delete(e)
    }
  }

  function one(s: Stmt): void {
    switch (s.is) {
      case 'set':
        expr(s.value)
        code.push(0x21, ...leb(indexOf(s.local)))
        return
      case 'store': {
        const offset = address(s.space, s.address, s.offset)
        expr(s.value)
        if (isVector((s.value as { kind: string }).kind)) code.push(...simd(0x0b), 0x02, ...leb(offset))
        else code.push(...(stores[s.cell] as number[]), ...leb(offset))
        return
      }
      case 'loop': {
        const i = leb(indexOf(s.local))
        expr(s.from)
        code.push(0x21, ...i, 0x03, 0x40)
        statements(s.body)
        code.push(0x20, ...i)
        expr(typeof s.step === 'number' ? { is: 'const', kind: 'i32', value: s.step } : s.step)
        code.push(0x6a, 0x22, ...i)
        expr(s.to)
        code.push(0x48, 0x0d, 0x00, 0x0b)
        return
      }
      case 'call':
        for (const a of s.args) expr(a)
        code.push(0x10, ...leb(indexOfRoutine(s.routine)))
        return
      case 'if':
        expr(s.when)
        code.push(0x04, 0x40)
        statements(s.then)
        if (s.otherwise.length > 0) {
          code.push(0x05)
          statements(s.otherwise)
        }
        code.push(0x0b)
    }
  }

  statements(body)
  return { params: params.length, locals, code }
}
