import { describe, expect, it } from 'vitest'
import { sampleReport } from '../../test/sample-report.ts'
import { printPage } from './html.ts'
import { engineWords, layerLines, shareText, worstFirst } from './layers-text.ts'
import { noStyle } from './table.ts'
import { printReport } from './text.ts'
import type { Coverage, Layer, Report } from './types.ts'

const hostile = '</script><img src=x onerror=alert(1)>\u001b[31m'

const coverage = (max: number): Coverage => ({
  dtype: 'uint8',
  range: { min: -1.5, max },
  covered: { low: -1, high: 3 },
  saturation: { low: 0.25, high: 0.00002 },
  clipped: 0.013,
  codes: Array.from({ length: 32 }, (_, i) => (i === 0 ? 0.25 : 0.75 / 31))
})

/** The sample report as `verify --layers --engines` makes it. */
function detailed(name = 'layer'): Report {
  const r = sampleReport(name)
  const layers = r.layers.map(
    (l, i): Layer => ({ ...l, outputSqnrDb: 30 + ((i * 5) % 11), activation: coverage(i), weight: coverage(2) })
  )
  const difference = 0.07
  return {
    ...r,
    layers,
    engines: {
      names: ['onnxruntime-node 1.30.0', 'onnxruntime-web 1.30.0'],
      n: 24,
      models: [
        { model: 'original', tolerance: 0.001, agrees: true, outputs: [{ name, difference: 1e-7, sqnrDb: 139 }] },
        {
          model: 'compressed',
          tolerance: 0.05,
          agrees: false,
          outputs: [{ name, difference, sqnrDb: 21.5, agreement: 0.9 }],
          first: { node: `${name}/conv_3`, op: 'Conv', value: 'v', difference }
        }
      ]
    }
  }
}

describe('layers in the terminal', () => {
  it('come with the worst first: by what each alone does to the output, else by its own error', () => {
    const [a, b, c] = [
      { node: 'a', op: 'Conv', outputSqnrDb: 40, sqnrDb: 10 },
      { node: 'b', op: 'Conv', sqnrDb: 30 },
      { node: 'c', op: 'Conv' }
    ]
    expect(worstFirst([c, a, b])).toEqual([b, a, c])
  })

  it('are asked for, and say what ran, what it lost and what its codes cover', () => {
    expect(printReport(detailed(), noStyle)).not.toContain('worst first')
    const text = printReport(detailed(), noStyle, { layers: true })
    expect(text).toMatch(/layers, worst first +output +own +sum +file +time/)
    expect(text).toMatch(/layer\/conv_0 +Conv +Conv +30\.0 +24\.0/)
    expect(text).toMatch(/what codes cover +values +codes +lowest +highest +cut off +weight/)
    expect(text).toMatch(/\[−1\.5, 11\] +\[−1, 3\] +25 % +< 0\.01 % +1\.3 %/)
    expect(text).toContain('and 2 more layers')
    for (const line of layerLines(detailed(), noStyle)) expect(line.length).toBeLessThan(140)
  })

  it('are left out where nothing is known', () => {
    const r = { ...sampleReport(), layers: [] }
    expect(layerLines(r, noStyle)).toEqual([])
    expect(shareText(undefined)).toBe('?')
    expect(shareText(0)).toBe('0')
  })
})

describe('engines', () => {
  it('are told of in one sentence a model', () => {
    const models = detailed().engines?.models ?? []
    expect(models.map(engineWords)).toEqual([
      'same numbers (0.00001 % of the largest value, 0.1 % allowed)',
      'different numbers (7 % of the largest value, 5 % allowed); first at layer/conv_3 (Conv), 7 %'
    ])
    const { first: _, ...fused } = models[1] as NonNullable<(typeof models)[1]>
    expect(engineWords(fused)).toContain('an engine’s fusion of operators is at fault')
    const failed = { engine: 'web', reason: 'no kernel' }
    expect(engineWords({ model: 'original', tolerance: 0, outputs: [], agrees: false, failed })).toBe(
      'web cannot run it: no kernel'
    )
    expect(printReport(detailed(), noStyle)).toContain('same answer on 90.0 %')
  })
})

describe('the page', () => {
  it('pictures what the codes cover, and compares engines', () => {
    const page = printPage(detailed())
    expect(page).toContain('What the codes cover')
    expect(page.match(/class="span"/g)).toHaveLength(44)
    expect(page).toContain('The same in another engine?')
    expect(page).toContain('output dB')
    expect(printPage(sampleReport())).not.toMatch(/What the codes cover|in another engine/)
  })

  it('lets no name become an element', () => {
    const page = printPage(detailed(hostile))
    expect(page).not.toContain('<img')
    expect(page).not.toContain('\u001b')
    const text = printReport(detailed(hostile), noStyle, { layers: true })
    expect(text).not.toContain('\u001b')
  })
})
