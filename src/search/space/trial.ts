/** A trial as plain data, so that it can run in this process, in another, or on another machine: a job and its result. */
import type { Point } from './space.ts'

/** To be measured: a point, on some of the samples that choose, by their numbers `from` … `to` − 1. */
export interface TrialJob {
  /** Hash of the model, the data, the space and the versions: who has another one refuses. */
  readonly problem: string
  readonly k: number
  readonly point: Point
  readonly rung: number
  readonly from: number
  readonly to: number
}

/** Of the samples of a job. */
export interface TrialResult {
  /** ‖y − r‖² / ‖r‖² of each sample: float32, little-endian, base64. */
  readonly losses: string
  /** Sums of how much worse the metric is, sample by sample, and of the squares. */
  readonly drop: { readonly sum: number; readonly squares: number }
  readonly ms: number
}

/** Where trials are run. `slots`: how many at once are worth asking for. */
export interface Trials {
  readonly slots: number
  /** Throws `E_RUN` for a point whose model does not run. */
  run(job: TrialJob, signal: AbortSignal): Promise<TrialResult>
  close(): Promise<void>
}

/** Losses as text. */
export function packed(losses: Float32Array): string {
  const bytes = new Uint8Array(losses.buffer, losses.byteOffset, losses.byteLength)
  let text = ''
  for (const byte of bytes) text += String.fromCharCode(byte)
  return btoa(text)
}

/** Text as losses; `undefined` where it holds none. */
export function unpacked(text: string): Float32Array | undefined {
  try {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
    return bytes.length % 4 === 0 ? new Float32Array(bytes.buffer) : undefined
  } catch {
    return undefined
  }
}

/** Numbers of samples up to which the rungs go: each three times the one before, the last all of them. */
export function rungsOf(samples: number): readonly number[] {
  const out: number[] = []
  for (let n = firstRung; n < samples / 1.5; n *= 3) out.push(n)
  return [...out, samples]
}

const firstRung = 64
