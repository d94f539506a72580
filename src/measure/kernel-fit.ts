/**
 * Lines of kernels from times of small networks: every network is a sum over its kernels, and all lines are solved for at
 * once by non-negative least squares of relative errors (coordinate descent on the normal equations). Where a runtime tells
 * the times of its kernels, the sum over those of one operator is an equation of its own, and what is left of the whole one of
 * the run: else what a network begins and ends with could not be told from what is in it.
 */
import { type CostLine, columnsOf, type KernelNode, lineMs, placeOf } from './cost-model.ts'

/** A network that was timed, as its kernels. */
export interface TimedNetwork {
  readonly name: string
  readonly kernels: readonly KernelNode[]
  /** 10⁶ bytes of its inputs and outputs. */
  readonly ends: number
  readonly ms: number
  /** Of these the ms of kernels by operator, where the runtime tells them; what is fused into others is absent. */
  readonly parts?: ReadonlyMap<string, number>
}

export interface Fitted {
  readonly run: { readonly ms: number; readonly perMegabyte: number }
  readonly kinds: Readonly<Record<string, CostLine>>
  readonly block: number
  /** Relative error of each network by lines that were fitted without it; absent where a kind of it has few others. */
  readonly errors: readonly (number | undefined)[]
}

/** Blocks of channels that are tried. */
const blocks = [1, 4, 8, 16] as const
const perKind = 4
/** A kernel is corrected by what was measured of it where its line is off by at most this factor. */
const farthest = Math.log(3)

/** Networks are left out in so many groups. */
const folds = 5
const fewest = 4

/** The lines with the block of channels that leaves the least error on networks that were left out. */
export function fitKernels(networks: readonly TimedNetwork[]): Fitted {
  const all = blocks.map((block) => {
    const errors = new Array<number>(networks.length).fill(0)
    for (let fold = 0; fold < folds; fold++) {
      const { run, kinds } = solved(
        networks.filter((_, i) => i % folds !== fold),
        block
      )
      for (const [i, n] of networks.entries())
        if (i % folds === fold) errors[i] = Math.abs(timeBy(n, run, kinds, block) - n.ms) / n.ms
    }
    return { block, errors, score: errors.reduce((s, e) => s + Math.min(1, e), 0) }
  })
  const counts = new Map<string, number>()
  for (const n of networks)
    for (const kind of new Set(n.kernels.map((k) => k.kind))) counts.set(kind, (counts.get(kind) ?? 0) + 1)
  // Without its only network nothing is known of a kind, as it will not be of kinds that are none of these.
  const isTold = (n: TimedNetwork): boolean => n.kernels.every((k) => (counts.get(k.kind) ?? 0) >= fewest)
  const best = all.reduce((a, b) => (b.score < a.score ? b : a))
  const { run, kinds } = solved(networks, best.block)
  return {
    run,
    kinds: withErrors(networks, kinds, best.errors),
    block: best.block,
    errors: best.errors.map((e, i) => (isTold(networks[i] as TimedNetwork) ? e : undefined))
  }
}

/** The median error of the networks that hold a kind. */
function withErrors(
  networks: readonly TimedNetwork[],
  kinds: Fitted['kinds'],
  errors: readonly number[]
): Fitted['kinds'] {
  return Object.fromEntries(
    Object.entries(kinds).map(([name, line]) => {
      const own = errors.filter((_, i) => networks[i]?.kernels.some((k) => k.kind === name)).toSorted((a, b) => a - b)
      return [name, { ...line, error: own[own.length >> 1] ?? 0 }]
    })
  )
}

/** Σ of · x should be `is`. */
interface Row {
  readonly of: Float64Array
  readonly is: number
}

type Solved = Pick<Fitted, 'run' | 'kinds'>

const timeBy = (n: TimedNetwork, run: Fitted['run'], kinds: Fitted['kinds'], block: number): number =>
  run.ms +
  run.perMegabyte * n.ends +
  n.kernels.reduce((sum, k) => {
    const line = kinds[k.kind]
    return sum + (line ? lineMs(line, k.figures, block) : 0)
  }, 0)

function solved(networks: readonly TimedNetwork[], block: number): Solved {
  const names = [...new Set(networks.flatMap((n) => n.kernels.map((k) => k.kind)))]
  const width = 2 + perKind * names.length
  const rows = networks.flatMap((n): Row[] => {
    const asked = (run: number, kernels: readonly KernelNode[], ms: number, whole = ms): Row => {
      const row = new Float64Array(width)
      row[0] = run
      row[1] = run * n.ends
      for (const k of kernels) {
        const at = 2 + perKind * names.indexOf(k.kind)
        for (const [i, x] of columnsOf(k.figures, block).entries()) row[at + i] = (row[at + i] as number) + x
      }
      return { of: row.map((x) => x / whole), is: ms / whole }
    }
    const { parts } = n
    if (!parts) return [asked(1, n.kernels, n.ms)]
    const sum = [...parts.values()].reduce((a, b) => a + b, 0)
    return [
      asked(1, [], Math.max(0, n.ms - sum), n.ms),
      ...[...parts].map(([op, ms]) =>
        asked(
          0,
          n.kernels.filter((k) => k.op === op),
          ms
        )
      )
    ]
  })
  const x = nonNegative(rows, width)
  const kinds: Record<string, CostLine> = {}
  for (const [i, name] of names.entries()) {
    const coefficients = Array.from(x.subarray(2 + perKind * i, 2 + perKind * (i + 1)))
    kinds[name] = {
      coefficients,
      samples: networks.filter((n) => n.kernels.some((k) => k.kind === name)).length,
      near: []
    }
  }
  const run = { ms: x[0] as number, perMegabyte: x[1] as number }
  return { run, kinds: withNear(networks, run, kinds, block) }
}

/** Beside each line, what was measured over what it says, at the kernels of networks of one kind. */
function withNear(
  networks: readonly TimedNetwork[],
  run: Fitted['run'],
  kinds: Record<string, CostLine>,
  block: number
): Record<string, CostLine> {
  const near: Record<string, CostLine['near'][number][]> = {}
  const note = (kernels: readonly KernelNode[], ratio: number): void => {
    if (!(Math.abs(ratio) < farthest)) return
    const seen = new Set<string>()
    for (const k of kernels) {
      const at = placeOf(k.figures)
      const key = `${k.kind} ${at.join()}`
      if (seen.has(key)) continue
      seen.add(key)
      near[k.kind] = [...(near[k.kind] ?? []), { at: [...at], ratio }]
    }
  }
  for (const n of networks) {
    const own = run.ms + run.perMegabyte * n.ends
    // What the run itself takes is no fault of a kernel.
    if (!n.parts) {
      const fitted = timeBy(n, run, kinds, block)
      note(n.kernels, Math.log(Math.max(n.ms - own, 0.1 * n.ms) / Math.max(fitted - own, 1e-6)))
    }
    for (const [op, ms] of n.parts ?? []) {
      const kernels = n.kernels.filter((k) => k.op === op)
      const fitted = timeBy({ ...n, kernels }, run, kinds, block) - own
      note(kernels, Math.log(ms / Math.max(fitted, 1e-6)))
    }
  }
  return Object.fromEntries(
    Object.entries(kinds).map(([name, line]) => [name, { ...line, near: (near[name] ?? []).slice(0, 1000) }])
  )
}

const rounds = 1000
/** Of the mean diagonal: coefficients that nothing tells stay at 0. */
const damp = 1e-6

/** min Σ (of · x − is)² for x ≥ 0. */
function nonNegative(rows: readonly Row[], width: number): Float64Array {
  const scale = new Float64Array(width)
  for (const { of: row } of rows)
    for (let i = 0; i < width; i++) scale[i] = (scale[i] as number) + (row[i] as number) ** 2
  for (let i = 0; i < width; i++) scale[i] = Math.sqrt(scale[i] as number) || 1
  const [gram, right] = [new Float64Array(width * width), new Float64Array(width)]
  for (const { of: row, is } of rows)
    for (let i = 0; i < width; i++) {
      const a = (row[i] as number) / (scale[i] as number)
      if (a === 0) continue
      right[i] = (right[i] as number) + a * is
      for (let j = 0; j < width; j++)
        gram[i * width + j] = (gram[i * width + j] as number) + (a * (row[j] as number)) / (scale[j] as number)
    }
  const x = new Float64Array(width)
  for (let round = 0; round < rounds; round++) {
    let moved = 0
    for (let i = 0; i < width; i++) {
      let slope = right[i] as number
      for (let j = 0; j < width; j++) slope -= (gram[i * width + j] as number) * (x[j] as number)
      const next = Math.max(0, (x[i] as number) + slope / ((gram[i * width + i] as number) + damp))
      moved = Math.max(moved, Math.abs(next - (x[i] as number)))
      x[i] = next
    }
    if (moved < 1e-9) break
  }
  return x.map((v, i) => v / (scale[i] as number))
}
