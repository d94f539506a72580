/** The binary format of WebAssembly 2.0, as far as compiled models need it: one memory, functions of whole numbers without results, data. */

/** A whole number of variable length, unsigned. */
export function leb(value: number): number[] {
  const out: number[] = []
  let rest = value >>> 0
  do {
    const byte = rest & 0x7f
    rest >>>= 7
    out.push(rest ? byte | 0x80 : byte)
  } while (rest)
  return out
}

/** The same with a sign. */
export function sleb(value: number): number[] {
  const out: number[] = []
  let rest = value | 0
  for (;;) {
    const byte = rest & 0x7f
    rest >>= 7
    const done = (rest === 0 && !(byte & 0x40)) || (rest === -1 && !!(byte & 0x40))
    out.push(done ? byte : byte | 0x80)
    if (done) return out
  }
}

const text = (s: string): number[] => {
  const bytes = [...new TextEncoder().encode(s)]
  return [...leb(bytes.length), ...bytes]
}
const vector = (items: readonly (readonly number[])[]): number[] => [...leb(items.length), ...items.flat()]

export const types = { i32: 0x7f, f32: 0x7d, v128: 0x7b } as const
export type WasmType = keyof typeof types

export interface WasmFunction {
  /** Parameters, all i32; locals are numbered behind them. */
  readonly params: number
  readonly locals: readonly WasmType[]
  readonly code: readonly number[]
}

/** The functions of a module. */
export interface WasmCode {
  readonly functions: readonly WasmFunction[]
  /** Names of exported functions, by index. */
  readonly exports: Readonly<Record<string, number>>
  /** The function that runs when the module is instantiated, by index. */
  readonly start?: number
}

export interface WasmModule extends WasmCode {
  /** Bytes of memory. */
  readonly memory: number
  /** Placed at address 0. */
  readonly data: Uint8Array
  /** A custom section in front of all others. */
  readonly note: { readonly name: string; readonly text: string }
  /** The same with other functions, kept as a custom section behind all others. */
  readonly variant?: WasmCode & { readonly name: string }
}

/** Bytes of a page of memory. */
export const page = 65_536

const section = (id: number, body: readonly number[]): Uint8Array => Uint8Array.from([id, ...leb(body.length), ...body])

/** The bytes of a module: the memory is exported as `memory`. */
export function encodeModule({ memory, data, note, variant, ...own }: WasmModule): Uint8Array<ArrayBuffer> {
  const dataHead = Uint8Array.from([...leb(1), 0x00, 0x41, ...sleb(0), 0x0b, ...leb(data.length)])
  const other = variant ? codeSections(variant, memory) : undefined
  const name = variant ? text(variant.name) : []
  return concat([
    Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00),
    section(0, [...text(note.name), ...new TextEncoder().encode(note.text)]),
    codeSections(own, memory),
    Uint8Array.from([11, ...leb(dataHead.length + data.length)]),
    dataHead,
    data,
    ...(other ? [Uint8Array.from([0, ...leb(name.length + other.length), ...name]), other] : [])
  ])
}

/** All sections between the description and the data. */
function codeSections({ functions, exports, start }: WasmCode, memory: number): Uint8Array {
  const pages = Math.max(1, Math.ceil(memory / page))
  const bodies = functions.map(({ locals, code }) => {
    const runs: [number, WasmType][] = []
    for (const type of locals) {
      const last = runs.at(-1)
      if (last?.[1] === type) last[0]++
      else runs.push([1, type])
    }
    const head = vector(runs.map(([n, type]) => [...leb(n), types[type]]))
    return concat([
      Uint8Array.from(leb(head.length + code.length + 1)),
      Uint8Array.from(head),
      Uint8Array.from(code),
      Uint8Array.of(0x0b)
    ])
  })
  const code = concat([Uint8Array.from(leb(functions.length)), ...bodies])
  const arities = [...new Set(functions.map((f) => f.params))]
  return concat([
    section(1, vector(arities.map((n) => [0x60, ...leb(n), ...Array<number>(n).fill(types.i32), 0x00]))),
    section(3, vector(functions.map((f) => leb(arities.indexOf(f.params))))),
    section(5, vector([[0x01, ...leb(pages), ...leb(pages)]])),
    section(
      7,
      vector([
        [...text('memory'), 0x02, 0x00],
        ...Object.entries(exports).map(([name, index]) => [...text(name), 0x00, ...leb(index)])
      ])
    ),
    ...(start === undefined ? [] : [section(8, leb(start))]),
    Uint8Array.from([10, ...leb(code.length)]),
    code
  ])
}

function concat(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0))
  let offset = 0
  for (const p of parts) {
    out.set(p, offset)
    offset += p.length
  }
  return out
}
