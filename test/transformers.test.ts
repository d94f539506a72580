/** What `quantize-for transformers-js` writes, loaded by transformers.js itself, where it is installed. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { runJob } from '../src/node/jobs.ts'
import { dtypes } from '../src/search/presets.ts'
import { bertFolder, seq2seqFolder } from './transformers-folder.ts'

const name = '@huggingface/transformers'

function isInstalled(): boolean {
  try {
    createRequire(import.meta.url).resolve(name)
    return true
  } catch {
    // Absent is an answer: the suite is skipped and says so.
    return false
  }
}

/** Prints `{ model: { dtype: values } }`; a process of its own, since the package brings a runtime of its own. */
const script = `
const { env, pipeline, AutoTokenizer, AutoModelForSeq2SeqLM } = require('${name}')
const [folder, ...dtypes] = process.argv.slice(1)
env.allowRemoteModels = false
env.localModelPath = folder
const ask = async () => {
  const out = { bert: {}, t5: {} }
  for (const dtype of dtypes) {
    const features = await pipeline('feature-extraction', 'bert', { dtype })
    out.bert[dtype] = [...(await features('a small model is fast', { pooling: 'mean' })).data]
    await features.dispose()
    const model = await AutoModelForSeq2SeqLM.from_pretrained('t5', { dtype })
    const tokenizer = await AutoTokenizer.from_pretrained('t5')
    const made = await model.generate({ ...tokenizer('a small model is fast'), max_new_tokens: 4 })
    out.t5[dtype] = made.tolist()[0].map(Number)
    await model.dispose()
  }
  console.log(JSON.stringify(out))
}
ask().catch((e) => { console.error(e); process.exit(1) })
`

/** Cosine that a type keeps on a small random model. */
const leastCosine = 0.97

const cosine = (a: readonly number[], b: readonly number[]): number => {
  const dot = (x: readonly number[], y: readonly number[]): number => x.reduce((s, v, i) => s + v * (y[i] as number), 0)
  return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b))
}

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-transformers-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe.skipIf(!isInstalled())(`files for transformers.js (needs ${name})`, () => {
  it('load and answer as the original does, every type', async () => {
    await bertFolder(join(folder, 'bert'))
    await seq2seqFolder(join(folder, 't5'))
    for (const model of ['bert', 't5']) {
      const { unmet } = await runJob({ command: 'quantize-for', line: '', model: join(folder, model) })
      expect(unmet).toBe(false)
    }
    const cwd = fileURLToPath(new URL('..', import.meta.url))
    const args = ['-e', script, `${folder}/`, 'fp32', ...dtypes]
    const ended = spawnSync(process.execPath, args, { cwd, encoding: 'utf8', timeout: 120_000 })
    expect(ended.stderr).not.toMatch(/Error/)
    const made = JSON.parse(ended.stdout) as Record<'bert' | 't5', Record<string, number[]>>
    for (const dtype of dtypes) {
      expect(cosine(made.bert['fp32'] ?? [], made.bert[dtype] ?? [])).toBeGreaterThan(leastCosine)
      expect(made.t5[dtype]).toHaveLength(5)
    }
  }, 180_000)
})
