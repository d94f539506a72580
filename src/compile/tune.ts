/** Which ways of kernels are fastest in the engine at hand: every way of every kernel is run, by turns, and the least times count. */
import { hasRoundedValues } from '../ops/quantized.ts'
import type { Model } from '../types.ts'
import { lower } from './lower.ts'
import type { Program } from './program.ts'
import type { BytesDot } from './wasm/dots.ts'
import { steppedOf } from './wasm/module.ts'
import { bytesDotHere } from './wasm/variants.ts'

/** Ways to do one piece of work, by name: milliseconds that each took, and which is to be taken. */
export interface Tuning {
  readonly fastest: string
  readonly ms: Readonly<Record<string, number>>
}

/** Milliseconds for which each way runs before it is timed, as engines optimise what runs often, and for which it is timed. */
const warmMs = 15
const timedMs = 40
/** A single timing takes as many runs as this needs, at least one. */
const sampleMs = 0.1
/** Another way than that of the cost rule has to take at most this share of its time. */
const worthwhile = 0.97

/** Of all kernels of a model but those that are known. Sizes of the model are fixed. */
export function tune(model: Model, known: Readonly<Record<string, Tuning>> = {}): Record<string, Tuning> {
  const bytesDot = hasRoundedValues(model) ? bytesDotHere() : undefined
  const dots = bytesDot ? 'bytes' : 'pairs'
  const kernels = new Map<string, readonly string[]>()
  const { routines, ...usual } = lower(model, { dots })
  const steps = new Map<string, string>()
  usual.kernels.forEach((k, i) => {
    if (!k || k.ways.length < 2 || kernels.has(k.key)) return
    const old = Object.hasOwn(known, k.key) ? known[k.key] : undefined
    if (old && k.ways.every((way) => Object.hasOwn(old.ms, way))) return
    kernels.set(k.key, k.ways)
    steps.set(k.key, routines[i]?.name as string)
  })
  const most = Math.max(0, ...[...kernels.values()].map((ways) => ways.length))
  const modules = Array.from({ length: most }, (_, way) => {
    const fastest = Object.fromEntries([...kernels].map(([key, ways]) => [key, ways[way] ?? (ways[0] as string)]))
    return opened(lower(model, { dots, fastest }), bytesDot)
  })
  return Object.fromEntries(
    [...kernels].map(([key, ways]): [string, Tuning] => {
      const runs = ways.map((_, way) => modules[way]?.[steps.get(key) as string] as () => void)
      const ms = leastOf(runs)
      const [rule = 0] = ms
      const least = ms.indexOf(Math.min(...ms))
      const fastest = ways[(ms[least] as number) <= worthwhile * rule ? least : 0] as string
      return [key, { fastest, ms: Object.fromEntries(ways.map((name, i) => [name, Number(ms[i]?.toPrecision(4))])) }]
    })
  )
}

/** The steps of a program that has run once, on numbers without a pattern. */
function opened(program: Program, bytesDot?: BytesDot): Readonly<Record<string, () => void>> {
  const instance = new WebAssembly.Instance(new WebAssembly.Module(steppedOf(program, bytesDot)))
  const exports = instance.exports as Record<string, () => void> & { readonly memory: WebAssembly.Memory }
  const end = exports.memory.buffer.byteLength
  for (const { offset, dtype, shape } of program.inputs) {
    if (dtype !== 'float32') continue
    const begin = end - Math.ceil(program.arena / 64) * 64 + offset
    const x = new Float32Array(
      exports.memory.buffer,
      begin,
      shape.reduce((n, d) => n * d, 1)
    )
    for (let i = 0; i < x.length; i++) x[i] = Math.sin(i * 7)
  }
  exports.run?.()
  return exports
}

/** Milliseconds of a run of each, the least that was seen; they take turns. */
function leastOf(runs: readonly (() => void)[]): number[] {
  const repeats = runs.map((run) => {
    let count = 0
    const begun = performance.now()
    while (performance.now() - begun < warmMs) {
      run()
      count++
    }
    return Math.max(1, Math.round((count * sampleMs) / warmMs))
  })
  const least = runs.map(() => Number.POSITIVE_INFINITY)
  const end = performance.now() + timedMs * runs.length
  do
    runs.forEach((run, i) => {
      const count = repeats[i] as number
      const begun = performance.now()
      for (let r = 0; r < count; r++) run()
      least[i] = Math.min(least[i] as number, (performance.now() - begun) / count)
    })
  while (performance.now() < end)
  return least
}
