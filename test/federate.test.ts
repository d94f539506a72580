import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { Report } from '../src/report/types.ts'

const program = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
let folder = ''

interface Ended {
  readonly status: number | null
  readonly out: string
  readonly err: string
}

function pare(args: readonly string[]): Promise<Ended> {
  const { NODE_OPTIONS: _, FORCE_COLOR: _f, ...env } = process.env
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { cwd: folder, env })
    let [out, err] = ['', '']
    child.stdout.on('data', (d: Buffer) => {
      out += d.toString()
    })
    child.stderr.on('data', (d: Buffer) => {
      err += d.toString()
    })
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, out, err }))
  })
}

const idx = (dims: readonly number[], body: Uint8Array): Uint8Array => {
  const head = Buffer.alloc(4 + 4 * dims.length)
  head.set([0, 0, 8, dims.length])
  dims.forEach((d, i) => void head.writeUInt32BE(d, 4 + 4 * i))
  return Buffer.concat([head, body])
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-federate-'))
  const sets = createRequire(import.meta.url)('mnist') as Record<number, { readonly raw: readonly number[] }>
  const raws = Array.from({ length: 10 }, (_, i) => sets[i]?.raw ?? [])
  const count = 1500
  const pixels = new Uint8Array(count * 784)
  const labels = new Uint8Array(count)
  for (let i = 0; i < count; i++) {
    const from = Math.floor(i / 10) * 784
    for (let k = 0; k < 784; k++) pixels[784 * i + k] = Math.round(255 * (raws[i % 10]?.[from + k] ?? 0))
    labels[i] = i % 10
  }
  writeFileSync(join(folder, 'digits-images-idx3-ubyte'), idx([count, 28, 28], pixels))
  writeFileSync(join(folder, 'digits-labels-idx1-ubyte'), idx([count], labels))
  writeFileSync(
    join(folder, 'net.txt'),
    [
      'opset 21',
      'input x: f32[N,1,28,28]',
      'a = Conv(x, W1: f32[6,1,5,5], B1: f32[6], strides=[2,2], pads=[2,2,2,2])',
      'b = Relu(a)',
      'c = Flatten(b)',
      'logits = Gemm(c, W2: f32[1176,10], B2: f32[10])',
      'output logits'
    ].join('\n')
  )
}, 120_000)
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const words = ['--data', 'digits-images-idx3-ubyte', '--preprocess', 'unit', '--rounds', '4']
/** Of 20 clients six a round, where nothing else is said. */
const simulate = (out: string, ...more: string[]): Promise<Ended> =>
  pare(['federate', 'simulate', 'net.txt', ...words, '--batch', '10', '-o', out, ...counts(more), ...more])
const counts = (more: readonly string[]): string[] =>
  Object.entries({ '--clients': '20', '--clients-per-round': '6' }).flatMap(([f, n]) =>
    more.includes(f) ? [] : [f, n]
  )
/** A data module of 120 noisy pictures whose brightest row is their class. */
const digitsModule = `
export default {
  size: 120,
  labelled: true,
  async *batches({ batch, indices = Array.from({ length: 120 }, (_, i) => i) }) {
    for (let at = 0; at < indices.length; at += batch) {
      const picked = indices.slice(at, at + batch)
      const pixels = Float32Array.from({ length: picked.length * 784 }, (_, k) => {
        const i = picked[Math.floor(k / 784)]
        return (Math.floor((k % 784) / 56) === i % 10 ? 1 : 0) + 0.1 * Math.sin(i * 784 + (k % 784))
      })
      yield {
        n: picked.length,
        inputs: { x: { dtype: 'float32', shape: [picked.length, 1, 28, 28], bytes: new Uint8Array(pixels.buffer) } },
        labels: picked.map((i) => i % 10)
      }
    }
  }
}
`
const hashOf = (name: string): string =>
  createHash('sha256')
    .update(readFileSync(join(folder, name)))
    .digest('hex')

describe('pare federate simulate', { timeout: 240_000 }, () => {
  it('trains in any number of threads to the same bytes, and counts what is sent', async () => {
    const [one, two] = [
      await simulate('one.onnx', '--up', 'stc', '--workers', '1', '--report', 'one.json'),
      await simulate('two.onnx', '--up', 'stc', '--workers', '2')
    ]
    expect(one.err).not.toContain('pare:')
    expect(one.status).toBe(0)
    expect(two.status).toBe(0)
    expect(hashOf('two.onnx')).toBe(hashOf('one.onnx'))
    const report = JSON.parse(readFileSync(join(folder, 'one.json'), 'utf8')) as Report
    const { bytes, clients, rounds } = report.federation as NonNullable<Report['federation']>
    expect({ count: clients.count, rounds }).toEqual({ count: 20, rounds: 4 })
    expect(clients.smallest).toBeGreaterThanOrEqual(10)
    expect(bytes.floats / bytes.upPayload).toBeGreaterThan(80)
    expect(bytes.floats / bytes.down).toBeGreaterThan(3.9)
    expect(report.curves['top1 by round']).toHaveLength(4)
    expect(report.after?.metrics['top1']?.value).toBeGreaterThan((report.before.metrics['top1']?.value as number) + 0.3)
    expect(one.out).toContain('sent up')
  })

  it('does again what the recipe of a report says', async () => {
    await simulate('first.onnx', '--server', 'fedavgm', '--up', '4bit', '--report', 'first.json')
    const again = await pare([
      ...['federate', 'simulate', 'net.txt', '--data', 'digits-images-idx3-ubyte', '--preprocess', 'unit'],
      ...['--clients', '20', '--recipe', 'first.json', '-o', 'again.onnx']
    ])
    expect(again.status).toBe(0)
    expect(hashOf('again.onnx')).toBe(hashOf('first.onnx'))
  })

  it('teaches another network on public samples by what clients say of them', async () => {
    writeFileSync(
      join(folder, 'small.txt'),
      'opset 21\ninput x: f32[N,1,28,28]\nc = Flatten(x)\nlogits = Gemm(c, W: f32[784,10], B: f32[10])\noutput logits\n'
    )
    const open = ['--public-data', 'digits-images-idx3-ubyte', '--student', 'small.txt']
    const made = await simulate('student.onnx', ...open, '--report', 'student.json')
    expect(made, made.err).toMatchObject({ status: 0 })
    const { federation, after } = JSON.parse(readFileSync(join(folder, 'student.json'), 'utf8')) as Report
    expect(federation?.distilled).toMatchObject({ clients: 10, samples: 1500 })
    expect(federation?.distilled?.up).toBeLessThan(10 * (15_000 + 400))
    expect(after?.metrics?.['top1']?.value).toBeGreaterThan(0.5)
    writeFileSync(join(folder, 'rounded.json'), JSON.stringify({ quantize: { bits: 4 }, distil: {} }))
    const refused = await simulate('x.onnx', '--recipe', 'rounded.json', '--public-data', 'digits-images-idx3-ubyte')
    expect(refused.err).toContain('would undo')
    expect((await simulate('x.onnx', '--recipe', 'rounded.json')).err).toContain('--public-data')
  })

  it('refuses what cannot be', async () => {
    const many = await simulate('no.onnx', '--clients-per-round', '30')
    expect(many.status).toBe(2)
    expect((await simulate('no.onnx', '--clients', '200')).err).toContain('not 10 for each of 200 clients')
    expect((await simulate('no.onnx', '--up-share', '5%')).err).toContain('--up-share is for')
    expect((await simulate('no.onnx', '--max-drop', '1%')).err).toContain('--eval-data')
    const none = await pare(['federate', 'net.txt'])
    expect(none.err).toContain('there is no command federate net.txt')
    expect(none.err).toContain('pare federate simulate')
    const alpha = await simulate('no.onnx', '--alpha', '-1')
    expect(alpha.status).toBe(2)
    expect(alpha.err).toContain('--alpha takes a number above 0, not -1')
    expect((await simulate('no.onnx', '--hostile', '200%')).err).toContain('--hostile takes a share from 0 to 100 %')
  })

  it('reads the labels of a data module batch by batch, in every thread', async () => {
    writeFileSync(join(folder, 'digits.mjs'), digitsModule)
    for (const workers of ['1', '2']) {
      const words = ['--data', 'digits.mjs', '--clients', '4', '--clients-per-round', '2', '--rounds', '1']
      const ran = await pare([
        ...['federate', 'simulate', 'net.txt', ...words, '--epochs', '1', '--batch', '10', '--workers', workers],
        ...['-o', `module-${workers}.onnx`]
      ])
      expect(ran.err).not.toContain('E_')
      expect(ran.status).toBe(0)
    }
    expect(hashOf('module-2.onnx')).toBe(hashOf('module-1.onnx'))
    writeFileSync(join(folder, 'bare.mjs'), digitsModule.replace('labelled: true', 'labelled: false'))
    const bare = await pare(['federate', 'simulate', 'net.txt', '--data', 'bare.mjs', '-o', 'no.onnx'])
    expect(bare.err).toContain('clients learn from labels')
  })
})
