import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import type { Trial } from '../search/trial.ts'
import { journalBeside } from './journal.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-journal-'))
const out = join(folder, 'small.onnx')
const path = `${out}.journal`
afterAll(() => rmSync(folder, { recursive: true, force: true }))
beforeEach(() => rmSync(path, { force: true }))

const job = { model: 'abc', threads: 1 }
const trial = (key: string): Trial => ({ key, proposal: { name: key, recipe: [['fuse', {}]] }, failed: 'does not run' })

async function written(...keys: readonly string[]): Promise<void> {
  const journal = journalBeside(out, { resume: false })
  await journal.open(job)
  for (const key of keys) await journal.append(trial(key))
}

describe('a journal', () => {
  it('gives back what was written, and goes on behind it', async () => {
    await written('a', 'b')
    const again = journalBeside(out, { resume: true })
    expect(await again.open(job)).toEqual({ trials: [trial('a'), trial('b')], notes: [] })
    await again.append(trial('c'))
    expect((await journalBeside(out, { resume: true }).open(job)).trials).toHaveLength(3)
    again.clear()
    expect(existsSync(path)).toBe(false)
  })

  it('drops a last line that was cut off, wherever it was', async () => {
    await written('a', 'b')
    const whole = readFileSync(path)
    const end = whole.lastIndexOf(10, whole.length - 2) + 1
    for (const cut of [end + 1, Math.floor((end + whole.length) / 2), whole.length - 1]) {
      writeFileSync(path, whole.subarray(0, cut))
      const journal = journalBeside(out, { resume: true })
      expect((await journal.open(job)).trials).toEqual([trial('a')])
      await journal.append(trial('b'))
      expect(readFileSync(path).equals(whole)).toBe(true)
    }
  })

  it('takes no trial of another job, and says what differs', async () => {
    await written('a')
    const { trials, notes } = await journalBeside(out, { resume: true }).open({ ...job, threads: 2 })
    expect(trials).toEqual([])
    expect(notes.join()).toContain('threads: 1, now 2')
  })

  it('begins anew without resume, and says when there is none to resume', async () => {
    await written('a')
    await written('b')
    expect((await journalBeside(out, { resume: true }).open(job)).trials).toEqual([trial('b')])
    rmSync(path)
    expect((await journalBeside(out, { resume: true }).open(job)).notes.join()).toContain('no journal')
  })

  it('refuses a file that is none, and one broken in the middle', async () => {
    writeFileSync(path, 'notes of mine\n')
    await expect(journalBeside(out, { resume: false }).open(job)).rejects.toMatchObject({ code: 'E_FORMAT' })
    expect(readFileSync(path, 'utf8')).toBe('notes of mine\n')
    rmSync(path)
    await written('a')
    appendFileSync(path, '{"key": \n')
    appendFileSync(path, `${JSON.stringify(trial('b'))}\n`)
    await expect(journalBeside(out, { resume: true }).open(job)).rejects.toMatchObject({ code: 'E_FORMAT' })
  })
})
