import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { runJob } from '../jobs.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-test-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

it('refuses a journal that is there, or is none, before anything is read', async () => {
  const out = join(folder, 'small.onnx')
  writeFileSync(`${out}.search`, '{"pareJournal":1}\n')
  const search = { strategies: ['random'], trials: 1, seeds: 1, budget: { bytes: 0.5 }, ahead: 1 }
  const job = { command: 'search' as const, line: '', model: join(folder, 'absent.onnx'), out, search }
  await expect(runJob(job)).rejects.toMatchObject({ code: 'E_EXISTS' })
  await expect(runJob({ ...job, resume: true })).rejects.toMatchObject({ code: 'E_FORMAT' })
})
