import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Dataset } from '../types.ts'
import { openDataset } from './dataset.ts'
import { loadDataset, loadMetric } from './modules.ts'

const home = mkdtempSync(join(tmpdir(), 'pare-modules-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))

let count = 0
function file(source: string): string {
  const path = join(home, `m${count++}.mjs`)
  writeFileSync(path, source)
  return path
}

const inputs = [{ name: 'x', dtype: 'float32', shape: ['N', 1] }] as const
const tensor = 'dtype: "float32", shape: [1, 1], bytes: new Uint8Array(4)'
const dataset = (batches: string, rest = 'size: 1, labelled: true'): string =>
  `export default { ${rest}, async *batches() { ${batches} } }`
const good = `yield { n: 1, inputs: { x: { ${tensor} } }, labels: [2] }`

async function drain(d: Dataset): Promise<number> {
  let n = 0
  for await (const b of d.batches({ batch: 1 })) n += b.n
  return n
}

describe('dataset modules', () => {
  it('export a Dataset, or a function of the inputs that gives one', async () => {
    expect(await drain(await loadDataset(file(dataset(good)), inputs))).toBe(1)
    const made = file(
      `export default async (inputs) => ({ size: inputs.length, labelled: true, async *batches() { ${good} } })`
    )
    expect(await drain(await loadDataset(made, inputs, { classes: 3 }))).toBe(1)
  })

  it('run only when that was asked for', async () => {
    const path = file('throw new Error("it ran")')
    await expect(openDataset({ path }, inputs)).rejects.toThrow('only when named on the command line')
    await expect(openDataset({ path }, inputs, { modules: true })).rejects.toMatchObject({
      code: 'E_DATA',
      facts: { why: 'Error: it ran' }
    })
  })

  it('are refused when they are none', async () => {
    await expect(loadDataset(join(home, 'none.mjs'), inputs)).rejects.toMatchObject({ code: 'E_FILE' })
    for (const source of [
      'export const x = 1',
      'export default 3',
      dataset('', 'size: -1, labelled: true'),
      dataset('', 'size: 0, labelled: true'),
      dataset('', 'size: 1')
    ])
      await expect(loadDataset(file(source), inputs), source).rejects.toMatchObject({ code: 'E_DATA' })
  })

  it('have every batch checked', async () => {
    const bad: readonly [string, string][] = [
      ['', 'E_DATA'],
      [`${good}; ${good}`, 'E_DATA'],
      ['yield 1', 'E_DATA'],
      ['yield { n: 1, inputs: {}, labels: [0] }', 'E_DATA'],
      [`yield { n: 2, inputs: { x: { ${tensor} } }, labels: [0, 0] }`, 'E_DATA'],
      [`yield { n: 1, inputs: { x: { ${tensor} } } }`, 'E_LABELS'],
      [`yield { n: 1, inputs: { x: { ${tensor} } }, labels: [3] }`, 'E_LABELS'],
      [`yield { n: 1, inputs: { x: { ${tensor.replace('[1, 1]', '[1, 2]')} } }, labels: [0] }`, 'E_DATA_SHAPE'],
      [
        `yield { n: 1, inputs: { x: { ${tensor.replace('Uint8Array(4)', 'Uint8Array(5)')} } }, labels: [0] }`,
        'E_MODEL'
      ],
      [
        `yield { n: 1, inputs: { x: { ${tensor.replace('new Uint8Array(4)', 'new Uint8Array([0, 0, 192, 127])')} } }, labels: [0] }`,
        'E_DATA'
      ],
      [`yield { n: 1, inputs: { x: { ${tensor.replace('float32', 'float64')} } }, labels: [0] }`, 'E_DATA_SHAPE']
    ]
    for (const [batches, code] of bad) {
      const d = await loadDataset(file(dataset(batches)), inputs, { classes: 3 })
      await expect(drain(d), batches).rejects.toMatchObject({ code })
    }
  })
})

describe('metric modules', () => {
  const metric = (scores: string): string =>
    `export default { name: 'mine', better: 'higher', scale: 'real', needs: { labels: false, reference: false }, scores: ${scores} }`
  it('export a Metric whose scores are checked', async () => {
    const mine = await loadMetric(file(metric('(outputs, batch) => Array(batch.n).fill(0.5)')))
    expect([mine.name, mine.scores({}, { n: 2, inputs: {} })]).toEqual(['mine', [0.5, 0.5]])
    const short = await loadMetric(file(metric('() => [1]')))
    expect(() => short.scores({}, { n: 2, inputs: {} })).toThrow('no list of 2 numbers')
    await expect(loadMetric(file('export default { name: "x" }'))).rejects.toMatchObject({ code: 'E_OPTION' })
  })
})
