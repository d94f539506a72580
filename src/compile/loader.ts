/** What stands beside a compiled module: JavaScript that loads and runs it, and its types. */
import type { DType } from '../types.ts'
import type { Port } from './program.ts'
import { bytesDot, pairsGet } from './wasm/dots.ts'
import { type ModuleNote, waysToRun } from './wasm/module.ts'
import { type Cut, probe } from './wasm/variants.ts'

/** The array that programs see, and the one that lies in memory: 64-bit whole numbers are kept in 32 bits. */
const arrays: Readonly<Partial<Record<DType, readonly [outside: string, inside: string]>>> = {
  float32: ['Float32Array', 'Float32Array'],
  int64: ['BigInt64Array', 'Int32Array'],
  int32: ['Int32Array', 'Int32Array'],
  bool: ['Uint8Array', 'Uint8Array'],
  uint8: ['Uint8Array', 'Uint8Array'],
  int8: ['Int8Array', 'Int8Array']
}

const outside = ({ dtype }: Port): string => arrays[dtype]?.[0] ?? 'Float32Array'
const inside = ({ dtype }: Port): string => arrays[dtype]?.[1] ?? 'Float32Array'
const count = ({ shape }: Port): number => shape.reduce((n, d) => n * d, 1)
/** Of one input or output, for every way to run. */
const sizes = (ports: readonly Port[]): string =>
  `[${ports[0]?.shape.map((_, axis) => [...new Set(ports.map((p) => p.shape[axis]))].join(' or ')).join(', ')}]`
/** Names can hold line separators, which are no line of code, and what would end the script of a page. */
const quoted = (name: string): string =>
  JSON.stringify(name).replace(/[<\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`)

/** Where the module is, and where it is cut if it has a variant with relaxed SIMD. */
export type Source = ({ readonly file: string } | { readonly inline: string }) & {
  readonly variants?: { readonly cut: Cut; readonly length: number }
}

/** Code that takes the variant that the engine is fastest with. */
const choosing = ({ cut: [note, data, end, relaxed], length }: NonNullable<Source['variants']>): string => `
/**
 * The module with relaxed SIMD, where a probe says that this engine multiplies bytes exactly: two products at a time, or, where it
 * holds their sums in more than 16 bits, four in one instruction.
 */
const probe = Uint8Array.of(${probe.join(',')})
function fastest(given) {
  const bytes = new Uint8Array(given.buffer ?? given, given.byteOffset ?? 0, given.byteLength)
  if (bytes.length !== ${length} || !WebAssembly.validate(probe)) return bytes
  const { pairs, fours } = new WebAssembly.Instance(new WebAssembly.Module(probe)).exports
  if (pairs(-1) !== 1) return bytes
  const parts = [bytes.subarray(0, ${note}), bytes.subarray(${relaxed}), bytes.subarray(${data}, ${end})]
  const out = new Uint8Array(${note + (length - relaxed) + (end - data)})
  let at = 0
  for (const p of parts) {
    out.set(p, at)
    at += p.length
  }
  if (fours(-1) === 1) inFours(out.subarray(${note}, ${note + length - relaxed}))
  return out
}
function inFours(code) {
  const stands = (at, bytes) => bytes.every((b, k) => code[at + k] === b)
  for (let at = 0; at < code.length; at++) {
    if (!stands(at, [${pairsGet}])) continue
    let end = at + ${pairsGet.length}
    while (code[end] >= 0x80) end++
    if (!stands(end + 1, [${bytesDot.behind.pairs}])) continue
    code.set([${bytesDot.before.fours}], at)
    code.set([${bytesDot.behind.fours}], end + 1)
  }
}
`

/**
 * The loader. `file`: the module's name beside it; `inline`: the module itself as base64, and then no file is read.
 * It runs in browsers, workers, Node from 20 on, Deno and Bun, and needs nothing else.
 */
export function loaderOf(note: ModuleNote, from: Source): string {
  const port = (p: Port): string =>
    `  { name: ${quoted(p.name)}, at: ${p.offset}, count: ${count(p)}, Outside: ${outside(p)}, Inside: ${inside(p)} }`
  const list = (ports: readonly Port[]): string => `[\n${ports.map(port).join(',\n')}\n]`
  const others = waysToRun(note).slice(1)
  const bytes =
    'inline' in from
      ? `const own = async () => Uint8Array.from(atob('${from.inline}'), (c) => c.charCodeAt(0))`
      : `const own = async () => {
  const url = new URL(${quoted(from.file)}, import.meta.url)
  if (url.protocol !== 'file:') return fetch(url)
  const fs = 'node:fs/promises'
  return (await import(/* @vite-ignore */ fs)).readFile(url)
}`
  return `// Made by pare compile. load() gives an instance with memory of its own; run() writes the inputs, computes, and
// returns the outputs: arrays that the next run() of the same instance overwrites.
${bytes}

const inputs = ${list(note.inputs)}
const outputs = ${list(note.outputs)}
/** How it runs, by the sizes of inputs. */
const ways = [
  { name: 'run', inputs, outputs }${others
    .map(
      (w) => `,
  { name: '${w.run}', inputs: ${list(w.inputs)}, outputs: ${list(w.outputs)} }`
    )
    .join('')}
]
${from.variants ? choosing(from.variants) : ''}
export async function load(source) {
  const given = await (source ?? own())
  const bytes = typeof Response !== 'undefined' && given instanceof Response ? await given.arrayBuffer() : given
  const wasm = bytes instanceof WebAssembly.Module ? bytes : await WebAssembly.compile(${from.variants ? 'fastest(bytes)' : 'bytes'})
  const { memory, ...computes } = (await WebAssembly.instantiate(wasm)).exports
  const view = (p) => ({ ...p, memory: new p.Inside(memory.buffer, p.at, p.count) })
  const all = ways.map((w) => {
    const [taken, made, results] = [w.inputs.map(view), w.outputs.map(view), {}]
    for (const p of made) results[p.name] = p.Outside === p.Inside ? p.memory : new p.Outside(p.count)
    return { compute: computes[w.name], taken, made, results }
  })
  const run = (feeds = {}) => {
    const missing = inputs.filter((p) => feeds[p.name] === undefined).map((p) => p.name)
    if (missing.length > 0) throw new TypeError(\`run() was not given: \${missing.join(', ')}\`)
    for (const { name, Outside } of inputs)
      if (!(feeds[name] instanceof Outside)) throw new TypeError(\`input \${name} takes a \${Outside.name}\`)
    const way = all.find(({ taken }) => taken.every((p) => feeds[p.name].length === p.count))
    if (!way) {
      const sets = ways.map((w) => w.inputs.map((p) => \`\${p.name} of \${p.count}\`).join(', '))
      const given = inputs.map((p) => \`\${p.name} of \${feeds[p.name].length}\`).join(', ')
      throw new RangeError(\`takes \${sets.join(' or ')} numbers, and was given \${given}\`)
    }
    const { compute, taken, made, results } = way
    for (const { name, memory, count, Outside, Inside } of taken) {
      const data = feeds[name]
      if (Outside === Inside) memory.set(data)
      else for (let i = 0; i < count; i++) memory[i] = Number(data[i])
    }
    compute()
    for (const { name, memory, count, Outside, Inside } of made)
      if (Outside !== Inside) for (let i = 0; i < count; i++) results[name][i] = BigInt(memory[i])
    return results
  }
  return { run }
}
`
}

/** Types of the loader. */
export function loaderTypes(note: ModuleNote): string {
  const { inputs, outputs } = note
  const ways = waysToRun(note)
  const field = (what: 'inputs' | 'outputs') => (p: Port, i: number) =>
    `  /** ${sizes(ways.flatMap((w) => w[what][i] ?? []))} */\n  readonly ${quoted(p.name)}: ${outside(p)}`
  return `/** Made by pare compile. */
export interface Inputs {
${inputs.map(field('inputs')).join('\n')}
}

/** The arrays are overwritten by the next run of the same instance. */
export interface Outputs {
${outputs.map(field('outputs')).join('\n')}
}

export interface Compiled {
  run(inputs: Inputs): Outputs
}

type Source = BufferSource | Response | WebAssembly.Module

/** An instance with memory of its own. \`source\`: the module, where it does not lie beside this file. */
export function load(source?: Source | Promise<Source>): Promise<Compiled>
`
}
