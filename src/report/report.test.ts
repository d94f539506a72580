import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { sampleReport } from '../../test/sample-report.ts'
import { costLines } from './costs.ts'
import { byKind } from './html.layers.ts'
import { script, scriptSha256 } from './html.style.ts'
import { printPage } from './html.ts'
import { printInspection } from './inspection.ts'
import { noStyle } from './table.ts'
import { printOpening, printReport } from './text.ts'
import type { Candidate, Hindrance, Report } from './types.ts'
import { unmet } from './unmet.ts'
import { bytesText, countText, digits, headline, msText, plain, ratioInterval, sizeWords, speedWords } from './words.ts'

const hostile = '</script><script>alert(1)</script>"\'><img src=x onerror=alert(1)>\u001b[31m\u0007\u202e&lt;'

describe('words', () => {
  it('puts units and direction in words', () => {
    expect(bytesText(1_090_000)).toBe('1.09 MB')
    expect(bytesText(34_000)).toBe('34 kB')
    expect(bytesText(20)).toBe('20 B')
    expect(bytesText(undefined)).toBe('?')
    expect(bytesText(312_000, 1_090_000)).toBe('0.31 MB')
    expect(countText(272_474)).toBe('0.27 M')
    expect(countText('?')).toBe('?')
    expect(msText(0.56)).toBe('0.56 ms')
    expect(msText(1200)).toBe('1.20 s')
    expect(digits(Number.NaN)).toBe('?')
    expect(sizeWords(0.2862)).toBe('3.5 × smaller')
    expect(sizeWords(1.001)).toBe('same size')
    expect(speedWords(4.67)).toBe('4.7 × slower')
    expect(speedWords(undefined)).toBe('?')
    expect(ratioInterval({ median: 0.52, low: 0.5, high: 0.54 })).toBe('[1.85, 2.00]')
    expect(ratioInterval({ median: 1.2, low: 1.1, high: 1.3 })).toBe('[1.10, 1.30]')
  })

  it('says it all in one sentence', () => {
    expect(headline(sampleReport())).toBe('3.5 × smaller, 1.9 × faster, top-1 −0.1 points on 3,000 unseen samples')
  })

  it('takes control and direction marks out of model text', () => {
    expect(plain('a\u001b[31mb\u0000\u202ec\n')).toBe('a·[31mb··c·')
    expect(plain('x'.repeat(300))).toHaveLength(200)
  })
})

describe('text', () => {
  it('prints the sample as it should feel', () => {
    const r = sampleReport('resnet20')
    const text =
      printOpening(r, noStyle) + printReport(r, noStyle, { wrote: true, ms: 41_000, next: 'pare verify a b' })
    expect(text).toMatchSnapshot()
  })

  it('lets no control character of a name through', () => {
    const text = printOpening(sampleReport(hostile), noStyle) + printReport(sampleReport(hostile), noStyle)
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that none is there is the point
    expect(text.replaceAll('\n', '')).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202e]/)
  })

  it('says the size of the result alone where there is no ratio, as after a network in words', () => {
    const { ratios: _r, drop: _d, constraint: _c, ...report } = sampleReport()
    const size = bytesText(report.after?.bytes ?? 0)
    const text = printReport({ ...report, candidates: [] }, noStyle)
    expect(text).toMatch(new RegExp(`^  file +${size} *$`, 'm'))
    expect(text).not.toMatch(/smaller|larger|before|after/)
    expect(headline(report)).toBe(`${report.output?.path.split('/').at(-1)}, ${size}`)
    expect(printPage({ ...report, candidates: [] })).not.toMatch(/\d\u00a0×\u00a0(smaller|larger)/)
  })

  it('names what came nearest when nothing keeps the promise', () => {
    const all = sampleReport()
    const { output: _, after: _a, ratios: _r, drop: _d, ...rest } = all
    const r: Report = {
      ...rest,
      constraint: { metric: 'top1', maxDrop: 0.005, met: false },
      candidates: all.candidates
        .map((c) => ({ ...c, chosen: false, hindrance: 'accuracy' as const }))
        .filter((c) => (c.drop?.['top1']?.value ?? 0) > 0.005)
    }
    expect(unmet(r)).toBe(
      'no candidate stays within 0.5 points; nearest: int8, min-max, −0.8 points at 0.29 ×. Nothing was written. Try a larger --max-drop, or more --data.'
    )
    expect(printReport(r, noStyle)).toContain('✗ no candidate')
    expect(printPage(r)).toContain('No candidate stays within')
  })

  it('says that the time allowed was too short for any candidate', () => {
    const { output: _, after: _a, ratios: _r, drop: _d, constraint: _c, ...rest } = sampleReport()
    const r: Report = { ...rest, objective: 'balanced', candidates: [] }
    expect(unmet(r)).toBe(
      'no candidate was measured in the time allowed. Nothing was written. Try a longer --max-time.'
    )
    expect(printReport(r, noStyle)).toContain('✗ no candidate was measured in the time allowed')
  })

  it('names the true hindrance: speed, bytes or the check, and what else kept others out', () => {
    const { output: _, after: _a, ratios: _r, drop: _d, constraint: _c, ...rest } = sampleReport()
    const one = (name: string, hindrance: Hindrance, why = ''): Candidate => ({
      ...{ name, hindrance, why, chosen: false, recipe: [], measurement: { bytes: 100, metrics: {} } },
      ratios: { bytes: 1.2, latency: { median: 1.5, low: 1.4, high: 1.6 } },
      drop: { top1: { value: 0.02, low: 0, high: 0.03, n: 10 } }
    })
    const constraint = { metric: 'top1', maxDrop: 0.01, met: false }
    const of = (candidates: readonly Candidate[]): string => unmet({ ...rest, constraint, candidates })
    const [slow, large, lossy] = [one('int8', 'speed'), one('int4', 'bytes'), one('int2', 'accuracy')]
    const failed = one('int1', 'check', 'ONNX Runtime does not open it')
    expect(of([lossy, failed, slow])).toBe(
      'what stays within 1 point is slower than the original; nearest: int8, 1.50 × the time at 1.20 × the bytes; 1 more loses too much; 1 more cannot be made or run. Nothing was written. Try --objective size.'
    )
    expect(of([large, lossy])).toContain('what stays within 1 point is larger than the original; nearest: int4, 1.20 ×')
    expect(of([failed])).toBe(
      'no candidate could be made and run; int1: ONNX Runtime does not open it. Nothing was written.'
    )
    const free = { ...rest, candidates: [slow] }
    expect(unmet(free)).toContain('no candidate is as fast as the original; nearest: int8')
    expect(printPage(free)).toContain('No candidate is as fast')
  })

  it('shows ? for what is unknown', () => {
    const { loadMs: _, ...after } = sampleReport().after ?? { bytes: 1, metrics: {} }
    const text = printReport({ ...sampleReport(), after, candidates: [] }, noStyle)
    expect(text).toMatch(/first load +33 ms +\?/)
  })
})

describe('inspection', () => {
  it('draws shares and names the command that saves', () => {
    const text = printInspection(
      {
        name: 'net',
        facts: 'ONNX 13 · 1 kB',
        inputs: ['x: f32[N,3]'],
        outputs: ['y: f32[N,2]'],
        bytes: [
          { kind: 'Conv 1×1', value: 1_810_000, layers: 3 },
          { kind: 'Gemm', value: 30_000, layers: 1 }
        ],
        work: [
          { kind: 'Conv 1×1', value: 38_100_000, layers: 3 },
          { kind: 'NonZero', value: undefined, layers: 1 }
        ],
        savings: [{ what: 'int8 weights', effect: '−1.4 MB, same speed', command: 'pare quantize-weights' }],
        warnings: ['13 depthwise layers']
      },
      noStyle
    )
    expect(text).toMatchSnapshot()
  })
})

describe('latency by a cost model', () => {
  it('stands beside the one that was measured, with how far it is off', () => {
    const report = sampleReport()
    const before = { ...report.before, predictedMs: 0.588 }
    const [line] = costLines({ ...report, before, after: { ...report.before, predictedMs: 0.42 } }).filter(
      (l) => l.label === 'latency predicted'
    )
    expect([line?.before, line?.after]).toEqual([0.588, 0.42])
    expect(line?.interval).toBe('off by +5 % and −25 %')
    expect(costLines(report).map((l) => l.label)).not.toContain('latency predicted')
  })
})

describe('page', () => {
  const page = printPage(sampleReport(hostile))

  it('makes no element of a name and no request', () => {
    expect(page.match(/<script/g)).toHaveLength(2)
    expect(page.match(/<\/script/g)).toHaveLength(2)
    expect(page).not.toMatch(/<img|onerror=alert\(1\)>|<link|https?:/)
    for (const c of ['\u001b', '\u0007', '\u202e']) expect(page).not.toContain(c)
    expect(page).toContain('&lt;img src=x')
    expect(page).toContain("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
  })

  it('carries the whole Report as JSON', () => {
    const json = /<script type="application\/json" id="report">(.*?)<\/script>/s.exec(page)?.[1]
    expect(JSON.parse(json ?? '')).toEqual(sampleReport(hostile))
    expect(json).not.toContain('<')
  })

  it('lets its own script run and no other', () => {
    const sha = createHash('sha256').update(script).digest('base64')
    expect(scriptSha256).toBe(sha)
    expect(page).toContain(`script-src 'sha256-${sha}'`)
    expect(page).toContain(`<script>${script}</script>`)
  })

  it('rings the winner and gives every candidate its recipe', () => {
    const sample = printPage(sampleReport())
    expect(sample.match(/class="ring"/g)).toHaveLength(1)
    expect(sample.match(/<title>\d\. /g)).toHaveLength(6)
    expect(sample.match(/class="refused"/g)).toHaveLength(2)
  })

  it('is well-formed: every element that opens is closed in order', () => {
    const body = page.replace(/<script[\s\S]*?<\/script>/g, '').replace(/<style>[\s\S]*?<\/style>/, '')
    const open: string[] = []
    for (const [, close, name, self] of body.matchAll(/<(\/?)([a-z][a-z0-9]*)\b[^>]*?(\/?)>/g)) {
      if (!name || self || ['meta', 'br'].includes(name)) continue
      if (close) expect(open.pop()).toBe(name)
      else open.push(name)
    }
    expect(open).toEqual([])
  })

  it('stays a page for the emptiest Report', () => {
    const { pare, reportVersion, command, model, target, seed, threads, machine } = sampleReport()
    const empty: Report = {
      ...{ pare, reportVersion, command, model, target, seed, threads, machine },
      before: { bytes: 10, metrics: {} },
      candidates: [],
      steps: [],
      refusals: [],
      notes: [],
      curves: {},
      layers: [],
      recipe: []
    }
    expect(printPage(empty)).toContain('10 bytes')
    expect(printReport(empty, noStyle)).toContain('10 B')
  })

  it('says one reason once, with bytes; long names keep their ends, and those that look alike are counted', () => {
    const deep = 'branch_of_a_condition_with_a_long_name/'.repeat(2)
    const refusals = [`then/${deep}Conv_1`, `else/${deep}Conv_1`, 'Add_1', 'Add_1'].map((node) => ({
      ...{ node, op: 'Conv', reason: 'for a reason' },
      bytes: 1000
    }))
    const text = printReport({ ...sampleReport(), refusals }, noStyle)
    expect(text.match(/for a reason/g)).toHaveLength(1)
    expect(text).toMatch(/…\S+\/Conv_1 ×2, Add_1 +for a reason \(4\.00 kB\)/)
  })

  it('sums by kind, the largest first', () => {
    const layers = sampleReport().layers
    expect(byKind(layers, (l) => l.bytes).map((k) => k.kind)).toEqual(['Conv', 'Add', 'Gemm'])
  })
})
