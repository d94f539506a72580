/** What a model costs, before and after, in the words of every printer. */
import type { Measurement } from '../types.ts'
import type { Report } from './types.ts'
import { bytesText, memoryWords, msText, ratioInterval, sizeWords, speedWords } from './words.ts'

/** One figure, before and after. */
export interface CostLine {
  readonly label: string
  readonly before: number | undefined
  readonly after: number | undefined
  /** A figure with its unit; `like` is the larger of the two, whose unit both take. */
  text(value: number | undefined, like?: number): string
  /** `3.5 × smaller`; empty where no ratio was measured. */
  readonly words: string
  readonly interval: string
  /** Only differences beyond what two runs of the same differ by are good or bad. */
  readonly verdict: 'better' | 'worse' | undefined
}

/**
 * File, latency, load and memory, as far as they were measured; without ratios of what came out alone. Of a pruned model also its
 * zeros and what is transferred: files that hold many zeros shrink on the way, those that hold none have shrunk before.
 */
export function costLines({ before, after, ratios }: Report): CostLine[] {
  const [a, b] = after && !ratios ? [after, undefined] : [before, after]
  const speed = ratios?.latency
  const lines = [
    line('file', [a.bytes, b?.bytes], bytesText, ratios?.bytes, 0.005, sizeWords),
    ...(isPruned(b ?? a) ? prunedLines(a, b) : []),
    {
      ...line('latency p50', [a.latencyMs?.p50, b?.latencyMs?.p50], msText, speed?.median, 0.02, speedWords),
      interval: speed ? ratioInterval(speed) : ''
    },
    { ...line('latency predicted', [a.predictedMs, b?.predictedMs], msText), interval: errorText([a, b]) },
    line('latency p90', [a.latencyMs?.p90, b?.latencyMs?.p90], msText),
    line('latency p99', [a.latencyMs?.p99, b?.latencyMs?.p99], msText),
    line('first load', [a.loadMs, b?.loadMs], msText, ratios?.loadMs, 0.1, speedWords),
    line('peak memory', [a.peakBytes, b?.peakBytes], bytesText, ratios?.peakBytes, 0.05, memoryWords)
  ]
  return lines.filter((l) => l.before !== undefined || l.after !== undefined)
}

/** Weights that are zero by chance are fewer. */
const prunedShare = 0.1

function isPruned(m: Measurement): boolean {
  const zeros = zerosOf(m)
  return zeros !== undefined && zeros >= prunedShare
}

/** Share of the trained numbers that are zero. */
function zerosOf({ parameters, nonzeroParameters }: Measurement): number | undefined {
  return parameters && nonzeroParameters !== undefined ? 1 - nonzeroParameters / parameters : undefined
}

function prunedLines(a: Measurement, b: Measurement | undefined): CostLine[] {
  const sent = (label: string, of: (m: Measurement) => number | undefined): CostLine => {
    const [before, after] = [of(a), b && of(b)]
    const ratio = before && after !== undefined ? after / before : undefined
    return line(label, [before, after], bytesText, ratio, 0.005, sizeWords)
  }
  return [
    sent('gzip', (m) => m.gzipBytes),
    sent('brotli', (m) => m.brotliBytes),
    line('zeros', [zerosOf(a), b && zerosOf(b)], shareText)
  ]
}

const shareText = (x: number | undefined): string => (x === undefined ? '?' : `${(100 * x).toFixed(1)} %`)

/** `off by +4 % and −7 %`: predicted over measured; empty where nothing was timed or predicted. */
function errorText(all: readonly (Measurement | undefined)[]): string {
  const errors = all.flatMap((m) => {
    const off = m?.predictedMs !== undefined && m.latencyMs ? m.predictedMs / m.latencyMs.p50 - 1 : undefined
    return off === undefined ? [] : [`${off < 0 ? '−' : '+'}${Math.abs(100 * off).toFixed(0)} %`]
  })
  return errors.length === 0 ? '' : `off by ${errors.join(' and ')}`
}

function line(
  label: string,
  [before, after]: readonly [number | undefined, number | undefined],
  text: CostLine['text'],
  ratio?: number,
  slack = 0,
  words: (ratio: number) => string = () => ''
): CostLine {
  const told = ratio !== undefined && Math.abs(ratio - 1) >= slack
  const verdict = told ? (ratio < 1 ? ('better' as const) : ('worse' as const)) : undefined
  return { label, before, after, text, words: ratio === undefined ? '' : words(ratio), interval: '', verdict }
}
