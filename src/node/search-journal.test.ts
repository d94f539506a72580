import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { SearchLine } from '../search/space/records.ts'
import { oldSearch, refuseAnother, searchJournalAt } from './search-journal.ts'

let folder = ''
let path = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-search-'))
  path = join(folder, 'small.onnx.search')
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

const job = { pare: '0.1.0', model: 'abc', seed: 0, 'selection data': '100 samples, none, xyz' }
const line = (k: number): SearchLine => ({ kind: 'proposed', run: 'local/0', k, raw: [0.5], point: [1] })
const resuming = { resume: true, force: false }

async function written(): Promise<void> {
  const journal = searchJournalAt(path, { resume: false, force: false })
  expect(await journal.open(job)).toEqual([])
  await journal.append(line(0))
  await journal.append(line(1))
}

describe('the journal of a search', () => {
  it('gives back its lines, without a last one that was cut off, and goes on behind them', async () => {
    await written()
    appendFileSync(path, '{"kind":"done","run":"lo')
    const journal = searchJournalAt(path, resuming)
    expect(await journal.open(job)).toEqual([line(0), line(1)])
    await journal.append(line(2))
    expect(oldSearch(path)?.lines).toEqual([line(0), line(1), line(2)])
    expect(readFileSync(path, 'utf8').split('\n')).toHaveLength(5)
  })

  it.each([
    ['seed', { ...job, seed: 1 }, /another search/, '0, now 1'],
    ['pare', { ...job, pare: '0.2.0' }, /another search/, '0.1.0, now 0.2.0'],
    [
      'selection data',
      { ...job, 'selection data': '90 samples' },
      /another search/,
      '100 samples, none, xyz, now 90 samples'
    ]
  ])('is refused under another %s, with what differs, and left as it is', async (name, other, message, differs) => {
    await written()
    const before = readFileSync(path)
    const error = await searchJournalAt(path, resuming)
      .open(other)
      .catch((e: unknown) => e)
    expect(error).toMatchObject({ code: 'E_USAGE', facts: { [name]: differs } })
    expect(String(error)).toMatch(message)
    expect(readFileSync(path)).toEqual(before)
    const old = oldSearch(path)
    expect(() => old && refuseAnother(path, old, other)).toThrow(message)
    expect(() => old && refuseAnother(path, old, { model: 'abc' })).not.toThrow()
  })

  it('is not begun anew over an old one unless asked to', async () => {
    await written()
    const plain = searchJournalAt(path, { resume: false, force: false })
    await expect(plain.open(job)).rejects.toMatchObject({ code: 'E_EXISTS' })
    expect(await searchJournalAt(path, { resume: false, force: true }).open(job)).toEqual([])
    expect(oldSearch(path)?.lines).toEqual([])
  })

  it('is refused where a line in the middle is broken, or it is none', async () => {
    await written()
    const lines = readFileSync(path, 'utf8').split('\n')
    writeFileSync(path, [lines[0], '{"kind":', lines[2], ''].join('\n'))
    await expect(searchJournalAt(path, resuming).open(job)).rejects.toMatchObject({ code: 'E_FORMAT' })
    writeFileSync(path, '{"pareJournal":1,"job":{}}\n')
    await expect(searchJournalAt(path, resuming).open(job)).rejects.toMatchObject({ code: 'E_FORMAT' })
  })
})
