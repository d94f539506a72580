/** A training run that is killed goes on from its last epoch to the bytes that it would have written. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, watch, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { toFloats } from '../src/ir/tensor.ts'
import { save } from '../src/node/files.ts'
import type { Report } from '../src/report/types.ts'
import { digits, network } from './digits.ts'
import { type Ended, isBuilt, npz, pare } from './program.ts'

const samples = 300
let folder = ''
const read = (name: string): Buffer => readFileSync(join(folder, name))
const checkpoints = (): string[] => readdirSync(folder).filter((name) => name.endsWith('.checkpoint'))

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-resume-'))
  await save(network('resume'), join(folder, 'net.onnx'))
  for await (const b of digits(samples, 'resume').batches({ batch: samples })) {
    const { x } = b.inputs
    if (x) writeFileSync(join(folder, 'digits.npz'), npz(x.shape, toFloats(x), b.labels ?? []))
  }
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const command = ['finetune', 'net.onnx', '--data', 'digits.npz', '--batch', '10', '--augment.kind', 'image']

/** Trains into a file; killed when its checkpoint of some epoch takes its place. */
function finetune(
  out: string,
  o: { readonly killAt?: number; readonly epochs?: number; readonly more?: readonly string[] } = {}
): Promise<Ended> {
  return pare(
    [
      ...command,
      '-o',
      out,
      '--report',
      `${out}.json`,
      '--force',
      '--epochs',
      String(o.epochs ?? 40),
      ...(o.more ?? [])
    ],
    {
      cwd: folder,
      watch: (child) => {
        if (o.killAt === undefined) return
        let seen = 0
        const watching = watch(folder, (_, name) => {
          if (!name?.startsWith(out) || !name.endsWith('.checkpoint')) return
          seen++
          if (seen < (o.killAt ?? 0)) return
          watching.close()
          child.kill('SIGKILL')
        })
      }
    }
  )
}

describe.skipIf(!isBuilt)('training that is killed', () => {
  it('goes on with --resume to the same bytes, and clears up behind it', async () => {
    const whole = await finetune('whole.onnx')
    expect(whole.err).not.toContain('pare:')
    expect(whole.status).toBe(0)
    const killed = await finetune('killed.onnx', { killAt: 3 })
    expect(killed.signal).toBe('SIGKILL')
    expect(checkpoints().length).toBe(1)
    const resumed = await finetune('killed.onnx', { more: ['--resume'] })
    expect(resumed.err).not.toContain('pare:')
    expect(resumed.status).toBe(0)
    const report = JSON.parse(read('killed.onnx.json').toString()) as Report
    expect(report.notes.join('\n')).toMatch(/finetune went on after epoch [1-9]/)
    expect(report.curves['finetune loss']?.length).toBe(40)
    expect(read('killed.onnx').equals(read('whole.onnx'))).toBe(true)
    expect(checkpoints()).toEqual([])
  })

  it('says when there is nothing to go on from', async () => {
    const ended = await finetune('new.onnx', { epochs: 1, more: ['--resume'] })
    expect(ended.status).toBe(0)
    const report = JSON.parse(read('new.onnx.json').toString()) as Report
    expect(report.notes.join('\n')).toMatch(/no checkpoint of this run was found/)
  })
})
