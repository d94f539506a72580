/** The best candidate of a search that was stopped on request, kept beside the output: `small.onnx` as `small.best.onnx`. */
import { rmSync } from 'node:fs'
import { join, parse } from 'node:path'
import { PareError } from '../base/errors.ts'
import type { Candidate } from '../report/types.ts'
import type { Model } from '../types.ts'
import { type SaveOptions, save } from './files.ts'

export interface BestSoFar {
  /** Takes the place of the one before. */
  hold(candidate: Candidate, model: Model): void
  /** Writes it where there is one; returns what the user is told in place of an error that says no more than that it was stopped. */
  keep(error: unknown, how: Omit<SaveOptions, 'force' | 'signal'>): Promise<unknown>
  /** Removes what a run before had kept, once the result is written. */
  clear(): void
}

/** Beside an output. */
export function bestBeside(out: string, signal: AbortSignal): BestSoFar {
  const { dir, name, ext } = parse(out)
  const path = join(dir, `${name}.best${ext}`)
  let best: { readonly candidate: Candidate; readonly model: Model } | undefined
  return {
    hold: (candidate, model) => {
      best = { candidate, model }
    },
    keep: async (error, how) => {
      if (!signal.aborted || !best || !(error instanceof PareError) || error.code !== 'E_ABORTED') return error
      await save(best.model, path, { ...how, force: true })
      const { name: form, ratios } = best.candidate
      return new PareError('E_ABORTED', `stopped on request; the best so far is kept: ${form}`, {
        where: path,
        facts: {
          bytes: `${ratios.bytes.toFixed(2)} ×`,
          ...(ratios.latency ? { latency: `${ratios.latency.median.toFixed(2)} ×` } : {}),
          'measured on': 'the samples that choose; not proven on the test part'
        },
        hint: 'the same command with --resume goes on'
      })
    },
    clear: () => rmSync(path, { force: true })
  }
}
