import { describe, expect, it } from 'vitest'
import { printGate, summaryOf } from '../report/gate.ts'
import { noStyle } from '../report/table.ts'
import type { Report } from '../report/types.ts'
import { gateOf, packScores, unpackScores } from './gate.ts'
import { metricInterval, pairedDrop } from './intervals.ts'

const top1 = { name: 'top1', scale: 'binary', better: 'higher' } as const

interface Made {
  readonly scores?: readonly number[]
  readonly bytes?: number
  readonly latency?: readonly [low: number, median: number, high: number]
  readonly original?: string
  readonly data?: string
}

/** As much of a report as is compared. */
function report({ scores = [1], bytes = 1000, latency, original = 'a', data = 'd' }: Made): Report {
  const [low, median, high] = latency ?? []
  return {
    ...{ pare: '0.1.0', reportVersion: 1, command: '', target: 'ort-cpu', seed: 0, threads: 1 },
    model: { path: 'a.onnx', sha256: original },
    data: { path: 'd.npz', sha256: data, calibrationN: 0, selectionN: 0, testN: scores.length, synthetic: false },
    before: { bytes: 4000, metrics: {} },
    after: { bytes, metrics: { top1: metricInterval(scores, top1) } },
    ratios: { bytes: bytes / 4000, ...(latency ? { latency: { low, median, high } as never } : {}) },
    scores: { top1: packScores(scores, top1) },
    ...{ candidates: [], steps: [], refusals: [], notes: [], curves: {}, layers: [], recipe: [] },
    machine: { cpu: 'x', cores: 2, node: '20', engine: { name: 'onnxruntime-node', version: '1' } }
  }
}

const half = Array.from({ length: 400 }, (_, i) => i % 2)
/** The same with 12 hits lost. */
const fewer = half.map((s, i) => (s === 1 && i < 24 ? 0 : s))

describe('scores of samples', () => {
  it('come back: bits and float32', () => {
    for (const n of [1, 7, 8, 9, 400]) {
      const bits = Array.from({ length: n }, (_, i) => ((i * 7) % 3) & 1)
      expect([...Array.from(unpackScores(packScores(bits, top1)) ?? [])]).toEqual(bits)
    }
    const real = packScores([0.5, -2, 1e-3], { scale: 'real', better: 'lower' })
    expect([...Array.from(unpackScores(real) ?? [])]).toEqual([0.5, -2, Math.fround(1e-3)])
    expect(packScores(new Array(5000).fill(1), top1).data.length).toBeLessThan(850)
    expect(unpackScores({ ...real, n: 4 })).toBeUndefined()
    expect(unpackScores({ ...real, data: '%' })).toBeUndefined()
  })
})

describe('the gate', () => {
  it('pairs by sample where both reports hold the same samples', () => {
    const { rows, failed, notes } = gateOf('b', report({ scores: half }), report({ scores: fewer }), { maxDrop: 0.01 })
    const { change, verdict } = rows[0] ?? {}
    expect(change).toEqual({ ...pairedDrop(half, fewer, top1), paired: true })
    expect([verdict, failed, notes]).toEqual(['worse', true, []])
    expect(gateOf('b', report({ scores: half }), report({ scores: fewer }), { maxDrop: 0.05 }).failed).toBe(false)
    expect(gateOf('b', report({ scores: fewer }), report({ scores: half })).rows[0]?.verdict).toBe('better')
  })

  it('widens the interval where the samples are others, and says so', () => {
    const other = gateOf('b', report({ scores: half, data: 'e' }), report({ scores: fewer }), { maxDrop: 0.01 })
    expect(other.rows[0]?.change).toMatchObject({ paired: false })
    // The difference is the same, but two independent parts of 400 samples cannot tell it from none.
    expect([other.rows[0]?.verdict, other.failed]).toEqual(['same', false])
    expect(other.notes.join()).toMatch(/data is not the same.*independent/)
  })

  it('counts bytes exactly and times as ratios to the same original', () => {
    const was = report({ bytes: 1000, latency: [0.49, 0.5, 0.51] })
    const now = report({ bytes: 1060, latency: [0.59, 0.6, 0.61] })
    const { rows, failed } = gateOf('b', was, now, { maxBytes: 0.05, maxLatency: 0.25 })
    expect(rows[1]).toMatchObject({ verdict: 'worse', failed: true })
    expect(rows[1]?.change?.low).toBeCloseTo(0.06, 12)
    expect(rows[2]).toMatchObject({ verdict: 'worse', failed: false })
    expect(rows[2]?.change?.value).toBeCloseTo(0.2, 10)
    expect(rows[2]?.change?.low).toBeCloseTo(
      Math.exp(Math.log(1.2) - Math.hypot(Math.log(0.6 / 0.59), Math.log(0.51 / 0.5))) - 1,
      10
    )
    expect(failed).toBe(true)
    expect(gateOf('b', was, now, { maxLatency: 0.1 }).rows[2]?.failed).toBe(true)
  })

  it('fails where a bound cannot be looked at, with the reason', () => {
    const now = report({ latency: [0.5, 0.5, 0.5] })
    const rows = (was: Report) => gateOf('b', was, now, { maxLatency: 0.1 }).rows[2]
    expect(rows(report({}))).toMatchObject({ verdict: 'unknown', failed: true, why: 'a report has no times' })
    expect(rows(report({ latency: [1, 1, 1], original: 'z' }))?.why).toContain('originals')
    expect(gateOf('b', report({}), now).rows[2]).toMatchObject({ verdict: 'unknown', failed: false })
  })

  it('prints for a terminal and as Markdown that no name breaks out of', () => {
    const gate = gateOf('a|b<c>.json', report({ scores: half }), report({ scores: fewer }), { maxDrop: 0.01 })
    const text = printGate(gate, noStyle)
    expect(text).toMatch(/top-1\s+50\.0 %\s+47\.0 %\s+−3\.0 points.*worse, beyond 1 point lost/)
    expect(text).toContain('✗ top-1: beyond the bound')
    const markdown = summaryOf(gate)
    expect(markdown).toContain('### ❌ top-1: beyond the bound')
    expect(markdown).toContain('a\\|b\\<c\\>.json')
    for (const line of markdown.split('\n').filter((l) => l.startsWith('|')))
      expect(line.replaceAll('\\|', '').split('|')).toHaveLength(7)
  })
})
