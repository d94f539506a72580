/** A search fitted into the time allowed: fewer samples for slow models, and time kept for the proof of the choice. */
import { paced, sampleTime } from '../measure/pacing.ts'
import type { Session } from '../runtime/types.ts'
import type { Dataset } from '../types.ts'
import type { CompressInput } from './input.ts'

export interface Fitted {
  readonly input: CompressInput
  /** Milliseconds that are left for choosing; absent where nothing bounds it. */
  searchMs?(): number
  readonly notes: readonly string[]
  /** Time that the original takes for a sample, in ms; absent where nothing bounds the search. */
  readonly sampleMs?: number
}

/** Shares of the time: of one candidate scored or calibrated, of both models on the test part, of the whole proof at most. */
const shares = { candidate: 0.03, test: 0.1, proof: 0.4 }
/** Samples that a part keeps in any case. */
const least = 4
/** What a proof takes beside runs of samples, in ms: timing, fresh processes, writing. */
const proofMs = 8000
/** Runs of one sample in a proof beside those on the test part. */
const proofRuns = 30

/**
 * The input with parts that `original` runs through in the time there is. Without a bound it is as it came: what is made must
 * not depend on the speed of the machine.
 */
export async function fitted(input: CompressInput, original: Session): Promise<Fitted> {
  const { timeLeft } = input
  if (!timeLeft) return { input, notes: [] }
  const sampleMs = await sampleTime([original], input.data.selection)
  const whole = timeLeft()
  const notes: string[] = []
  const part = (name: string, data: Dataset, share: number): Dataset => {
    const made = paced([original], data, sampleMs, { ms: whole * share, least, seed: name })
    notes.push(...made.notes.map((note) => `${name}: ${note}`))
    return made.data
  }
  const data = {
    calibration: part('calibration', input.data.calibration, shares.candidate),
    selection: part('selection', input.data.selection, shares.candidate),
    test: part('test', input.data.test, shares.test / 2)
  }
  const proof = Math.min(shares.proof * whole, proofMs + (2 * data.test.size + proofRuns) * sampleMs)
  return { input: { ...input, data }, notes, sampleMs, searchMs: () => timeLeft() - proof }
}
