/** A file of a family against its original, both in the same engine, on inputs of one sample each. */
import { PareError, stopIfAborted } from '../../base/errors.ts'
import { elementCount, isFloat, toFloats } from '../../ir/tensor.ts'
import type { Engine } from '../../measure/engines.ts'
import { addPair, type Sums, sqnrDb } from '../../measure/sums.ts'
import type { FamilyRun } from '../../report/types.ts'
import type { OpenOptions, Source } from '../../runtime/types.ts'
import type { Tensor } from '../../types.ts'

type Values = Readonly<Record<string, Tensor>>

/** What the original gives in an engine. */
export interface Reference {
  readonly engine: Engine
  readonly samples: readonly Values[]
  readonly outputs: readonly Values[]
}

interface How {
  readonly threads: number
  /** Without the engine's optimisation every float16 value is rounded; with it, a CPU computes runs of them in float32. */
  readonly optimization?: NonNullable<OpenOptions['optimization']>
  readonly signal: AbortSignal
}

/** Runs every sample; an error of the engine's own is a text. Throws everything else. */
export async function outputsOf(
  engine: Engine,
  source: Source,
  samples: readonly Values[],
  { signal, ...opening }: How
): Promise<readonly Values[] | string> {
  try {
    const session = await engine.runner.open(source, opening)
    try {
      const outputs: Values[] = []
      for (const feeds of samples) {
        stopIfAborted(signal)
        outputs.push(await session.run(feeds))
      }
      return outputs
    } finally {
      await session.close()
    }
  } catch (error) {
    if (error instanceof PareError && (error.code === 'E_RUN' || error.code === 'E_LIMIT')) return error.message
    throw error
  }
}

/** How a file answers beside its original. */
export async function comparedWith(reference: Reference, source: Source, how: How): Promise<FamilyRun> {
  const { engine, samples, outputs } = reference
  const facts = { engine: engine.name, version: engine.runner.version }
  const got = await outputsOf(engine, source, samples, how)
  if (typeof got === 'string') return { ...facts, outputs: [], failed: got }
  const names = Object.keys(outputs[0] ?? {})
  const failed = outputs.map((x, i) => difference(x, got[i] ?? {})).find((why) => why !== undefined)
  const perOutput = names.map((name) => {
    const sums: Sums = { signal: 0, noise: 0 }
    for (const [i, x] of outputs.entries()) addPair(sums, finite(x[name]), finite(got[i]?.[name]))
    const db = sqnrDb(sums)
    return { name, ...(db === undefined ? {} : { sqnrDb: db }) }
  })
  const known = perOutput.flatMap((o) => o.sqnrDb ?? [])
  return {
    ...facts,
    ...(known.length > 0 ? { sqnrDb: Math.min(...known) } : {}),
    outputs: perOutput,
    ...(failed === undefined ? {} : { failed })
  }
}

/** Why outputs cannot stand for the original's. */
function difference(was: Values, is: Values): string | undefined {
  for (const [name, x] of Object.entries(was)) {
    const y = is[name]
    if (!y) return `output ${name} is missing`
    if (x.dtype !== y.dtype) return `output ${name} is ${y.dtype}, not ${x.dtype}`
    if (String(x.shape) !== String(y.shape)) return `output ${name} has shape [${y.shape}], not [${x.shape}]`
    if (!isFloat(x.dtype) || elementCount(x.shape) === 0) continue
    const [a, b] = [toFloats(x), toFloats(y)]
    if (a.some((v, i) => Number.isFinite(v) && !Number.isFinite(b[i]))) return `output ${name} is not finite`
  }
  return undefined
}

/** Elements that are not finite become 0: masked scores are −∞ in both outputs, and say nothing of noise. */
function finite(t: Tensor | undefined): Tensor | undefined {
  if (!t || !isFloat(t.dtype)) return undefined
  const values = toFloats(t)
  if (values.every(Number.isFinite)) return t
  const kept = values.map((v) => (Number.isFinite(v) ? v : 0))
  return { dtype: 'float32', shape: t.shape, bytes: new Uint8Array(kept.buffer) }
}
