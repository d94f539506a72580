import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import { formatCard } from '../cli/cards.ts'
import type { Command } from '../cli/command.ts'
import { command as convert } from '../cli/convert.ts'
import { parseFlags } from '../cli/flags.ts'
import { flagsFor, writeOptions } from '../cli/format-flags.ts'
import { command as targetsCommand } from '../cli/targets.ts'
import { text } from '../formats/text.ts'
import type { AnyFormat, Catalog, Format } from '../formats/types.ts'
import { print } from '../ir/print.ts'
import { model } from '../ir/text.ts'
import { targetFor } from '../targets/index.ts'
import type { Target } from '../targets/types.ts'
import { standard } from './catalog.ts'
import { save } from './files.ts'
import type { Job, JobHooks } from './job.ts'
import { runJob } from './jobs.ts'

const options = z.strictObject({ title: z.string().default('a net').describe('First line of the file') })

/** The text form under a title, written too: its constants are drawn when it is read. */
const words: Format<z.output<typeof options>> = {
  name: 'words',
  title: 'Words',
  extensions: ['.words'],
  weightless: true,
  options,
  detect: (head) => new TextDecoder().decode(head).startsWith('# words'),
  read: (bytes, o) => {
    const read = text.read(bytes, o)
    return { model: { ...read.model, origin: { format: 'words', version: 'one' } }, notes: ['weights were drawn'] }
  },
  write: (m, { title }) => {
    const bytes = new TextEncoder().encode(`# words: ${title}\n${print(m)}`)
    return { parts: [bytes], bytes }
  }
}

/** Takes little of what there is. */
const strict: Target = {
  ...targetFor('ort-cpu'),
  name: 'strict',
  aliases: ['narrow'],
  summary: 'a target that takes little',
  format: 'words',
  endings: ['.words'],
  operators: ['Gemm', 'Relu'],
  elements: ['float32'],
  forms: ['plain']
}

const catalog: Catalog = {
  formats: [words as AnyFormat, ...standard.formats],
  targets: [...standard.targets, strict]
}

const cards = catalog.formats.map(formatCard)

let folder = ''
const at = (name: string): string => join(folder, name)
const run = (job: Partial<Job> & Pick<Job, 'command' | 'model'>): ReturnType<typeof runJob> =>
  runJob({ line: '', seconds: 0.05, ...job }, {}, catalog)

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-catalog-'))
  const net = model`
    input x: f32[N,64]
    h: f32[N,64] = Gemm(x, W: f32[64,64])
    y: f32[N,64] = Relu(h)
    output y
  `
  const wide = model`
    input x: f32[N,64]
    h: f32[N,64] = Gemm(x, W: f32[64,64])
    y: f32[N,64] = Softmax(h)
    output y
  `
  await save(net, at('net.onnx'))
  await save(wide, at('wide.onnx'))
  writeFileSync(at('own.words'), words.write?.(net, { title: 'own' })?.bytes ?? '')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** The command as the program runs it, in this thread. */
async function pare(command: Command, args: readonly string[]): Promise<string> {
  let out = ''
  const stream = { write: (t: string) => (out += t) } as unknown as NodeJS.WriteStream
  const given = parseFlags(args, flagsFor(command, cards), command.positionals, command.name)
  const start = (job: Job, hooks: JobHooks): ReturnType<typeof runJob> => runJob(job, hooks, catalog)
  const { signal } = new AbortController()
  await command.run(given, {
    ...{ argv: [command.name, ...args], out: stream, err: stream, signal, takeSignals: () => undefined, start },
    ...{ places: async () => ({ ...catalog, formats: cards }), write: writeOptions(given, cards), read: {} }
  })
  return out
}

describe('a format and a target beside our own', () => {
  it('are chosen by the name of the target, with the default name of the output', async () => {
    const said = await pare(convert, [at('net.onnx'), '--target', 'narrow', '--title', 'mine'])
    expect(said).toContain('strict · 1 thread')
    expect(said).toContain('ONNX 21 · 2 nodes')
    expect(readFileSync(at('net.pare.words'), 'utf8')).toMatch(/^# words: mine\n/)
  })

  it('are chosen by the ending of the input', async () => {
    const { report } = await run({ command: 'convert', model: at('own.words'), out: at('again.words') })
    expect(report).toMatchObject({ target: 'strict', model: { format: 'words' }, output: { format: 'words' } })
    expect(report.notes).toEqual(['weights were drawn', 'the file written was not opened: no runtime here reads Words'])
    expect(await pare(convert, [at('own.words'), '-o', at('shown.words')])).toContain('Words one · 2 nodes')
  })

  it('are chosen by the ending of the output where the input’s names another', async () => {
    const { report } = await run({ command: 'convert', model: at('net.onnx'), out: at('chosen.words') })
    expect(report).toMatchObject({ target: 'strict', output: { format: 'words' } })
  })

  it('are listed with aliases, format and runtime', async () => {
    expect(await pare(targetsCommand, [])).toMatch(
      /strict, narrow +Words +onnxruntime-node +a target that takes little/
    )
  })

  it('name themselves where the ending of the output is another format’s', async () => {
    const job = { command: 'convert', model: at('net.onnx') } as const
    await expect(run({ ...job, target: 'ort-cpu', out: at('a.words') })).rejects.toMatchObject({
      code: 'E_USAGE',
      message: 'a model for target ort-cpu is written as ONNX',
      hint: '--target strict'
    })
    await expect(run({ ...job, target: 'strict', out: at('a.bin') })).rejects.toMatchObject({
      code: 'E_USAGE',
      message: 'a model for target strict is written as Words',
      hint: '--out NAME.words'
    })
    await expect(run({ ...job, target: 'strict', out: at('a.words'), write: { opset: 13 } })).rejects.toMatchObject({
      code: 'E_OPTION',
      message: 'words has no option opset'
    })
  })

  it('refuse an operator and a form that the target lacks, and write nothing', async () => {
    const out = at('refused.words')
    await expect(run({ command: 'convert', model: at('wide.onnx'), target: 'strict', out })).rejects.toMatchObject({
      code: 'E_UNSUPPORTED',
      facts: { operators: 'Softmax: Softmax_1' }
    })
    const recipe = [['quantize-weights', { form: 'foldable' }]] as const
    await expect(run({ command: 'apply', model: at('net.onnx'), target: 'strict', out, recipe })).rejects.toMatchObject(
      {
        code: 'E_UNSUPPORTED',
        facts: { 'forms of constants': 'foldable: W_q' }
      }
    )
    expect(readdirSync(folder).filter((name) => name.includes('refused'))).toEqual([])
  })

  it('are read as the second file too, and run in memory where the runtime does not open their files', async () => {
    const pair = { model: at('own.words'), other: at('again.words'), target: 'strict' }
    writeFileSync(pair.other, readFileSync(pair.model))
    const verified = await run({ command: 'verify', ...pair })
    expect(verified.report).toMatchObject({ drop: { agreement: { value: 0 } }, ratios: { bytes: 1 } })
    expect(verified.report.after).not.toHaveProperty('loadMs')
    const timed = await run({ command: 'bench', ...pair })
    expect(timed.report.ratios?.latency?.median).toBeGreaterThan(0)
  })

  it('are what the ladder writes for; candidates that hold what the target lacks are struck with the reason', async () => {
    const out = at('small.words')
    const half = { ...strict, name: 'half', forms: [...strict.forms, 'foldable'] as const }
    const job: Job = { command: 'compress', line: '', model: at('net.onnx'), target: 'half', out }
    const { report } = await runJob(job, {}, { ...catalog, targets: [half] })
    expect(report.output).toMatchObject({ path: out, format: 'words' })
    const struck = report.candidates.filter((c) => c.why.includes('target half does not load this model'))
    expect(struck.map((c) => c.name)).toEqual(['dynamic int8', 'int8 weights'])
    expect(struck[0]?.why).toContain('element type int8')
  })
})
