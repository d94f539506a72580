import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { noteOf } from '../compile/index.ts'
import { model } from '../ir/text.ts'
import { save } from '../node/files.ts'
import type { Report } from '../report/types.ts'

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

interface Ended {
  readonly status: number | null
  readonly out: string
  readonly err: string
}

let folder = ''

function pare(args: readonly string[], o: { readonly interruptOn?: RegExp } = {}): Promise<Ended> {
  const { NODE_OPTIONS: _, FORCE_COLOR: _f, ...env } = process.env
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [program, ...args], { cwd: folder, env })
    let [out, err] = ['', '']
    child.stdout.on('data', (d: Buffer) => {
      out += d.toString()
      if (o.interruptOn?.test(out)) child.kill('SIGINT')
    })
    child.stderr.on('data', (d: Buffer) => {
      err += d.toString()
    })
    child.on('error', reject)
    child.on('close', (status) => resolve({ status, out, err }))
  })
}

/** 64 samples of 8 features with the label that a sum decides. */
function csvLikeNpy(): Uint8Array {
  const values = Float32Array.from({ length: 64 * 8 }, (_, i) => Math.sin(i * 1.7))
  const header = "{'descr': '<f4', 'fortran_order': False, 'shape': (64, 8), }"
  const padded = `${header}${' '.repeat(64 - ((10 + header.length + 1) % 64))}\n`
  const head = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, padded.length & 255, padded.length >> 8])
  return Buffer.concat([head, Buffer.from(padded, 'latin1'), Buffer.from(values.buffer)])
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-cli-'))
  const net = model`
    input x: f32[N,8]
    h: f32[N,64] = Gemm(x, W1: f32[8,64], b1: f32[64])
    r: f32[N,64] = Relu(h)
    y: f32[N,5] = Gemm(r, W2: f32[64,5], b2: f32[5])
    output y
  `
  await save(net, join(folder, 'net.onnx'))
  writeFileSync(join(folder, 'x.npy'), csvLikeNpy())
  writeFileSync(join(folder, 'text.onnx'), 'this is no model')
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe.skipIf(!existsSync(program))('the program (needs npm run build)', () => {
  it('tells its commands, passes and options', async () => {
    const [all, one] = await Promise.all([pare(['--help']), pare(['quantize-weights', '--help'])])
    expect(all).toMatchObject({ status: 0, err: '' })
    for (const name of ['compress', 'verify', 'simplify', 'quantize-static'])
      expect(all.out).toContain(`\n    ${name} `)
    expect(one.out).toMatch(/--form foldable\|\S+.*default:\s+foldable/s)
    const helped = await pare(['help', 'quantize-weights'])
    expect(helped).toEqual(one)
    expect(await pare(['help'])).toEqual(all)
    expect(one.out).toContain('--min-elements N')
    expect(one.out).not.toMatch(/--[a-z]+[A-Z]/)
    expect((await pare(['--version'])).out).toMatch(/^\d+\.\d+\.\d+\n$/)
  })

  it.each([
    [['compres', 'net.onnx'], 'E_USAGE', 'pare compress'],
    [['inspect', 'net.onnx', '--jsn'], 'E_USAGE', '--json'],
    [['inspect', 'absent.onnx'], 'E_FILE', 'absent.onnx'],
    [['inspect', '.'], 'E_FILE', 'folder'],
    [['inspect', 'text.onnx'], 'E_FORMAT', 'text.onnx'],
    [['compress', 'net.onnx', '--max-drop', '1%'], 'E_USAGE', '--data PATH'],
    [['compress', 'net.onnx', '--data', 'absent'], 'E_FILE', 'absent'],
    [['simplify', 'net.onnx', '-o', 'net.onnx', '--force'], 'E_USAGE', 'the model itself'],
    [['simplify', 'net.onnx', '-o', 'absent/out.onnx'], 'E_FILE', 'absent'],
    [['quantize-weights', 'net.onnx', '--bits', '9'], 'E_USAGE', '--bits'],
    [['quantize-static', 'net.onnx'], 'E_DATA', '--data'],
    [['inspect', 'net.onnx', '--metric', 'top1'], 'E_USAGE', 'no option --metric'],
    [['compile', 'net.onnx', '-o', 'net.c', '--batch-sizes', '1,8'], 'E_USAGE', 'one number of samples'],
    [['search', 'net.onnx', '--budget.bytes', '0.5', '--least', 'bytes'], 'E_USAGE', '--least']
  ])('%j is %s', async (args, code, hint) => {
    const { status, out, err } = await pare(args)
    expect(err).toContain(code)
    expect(err).toContain(hint)
    expect(err).not.toContain('    at ')
    expect(out).toBe('')
    expect(status).toBe(2)
  })

  it('compiles for several numbers of samples', async () => {
    const { status, err } = await pare(['compile', 'net.onnx', '-o', 'net.wasm', '--batch-sizes', '2,1', '--quiet'])
    expect([status, err]).toEqual([0, ''])
    const { others } = noteOf(readFileSync(join(folder, 'net.wasm')))
    expect(others?.map(({ inputs }) => inputs[0]?.shape)).toEqual([[2, 8]])
  })

  it('tells the commands that begin with a word where that word stands alone', async () => {
    const [bare, help] = await Promise.all([pare(['federate']), pare(['federate', '--help'])])
    expect([bare.status, help.status, help.err]).toEqual([2, 0, ''])
    expect(bare.out).toBe(help.out)
    for (const name of ['serve', 'join', 'simulate']) expect(help.out).toContain(`federate ${name} `)
    expect(help.out).not.toContain('inspect')
  })

  it('writes only the Report with --json, and nothing with --quiet', async () => {
    const [json, quiet] = await Promise.all([
      pare(['quantize-weights', 'net.onnx', '-o', 'j.onnx', '--json']),
      pare(['quantize-weights', 'net.onnx', '-o', 'q.onnx', '--quiet'])
    ])
    expect(json).toMatchObject({ status: 0, err: '' })
    const report = JSON.parse(json.out) as Report
    const sha256 = createHash('sha256')
      .update(readFileSync(join(folder, 'j.onnx')))
      .digest('hex')
    expect(report.output).toEqual({ path: 'j.onnx', sha256, format: 'onnx' })
    expect(report.recipe).toEqual([['quantize-weights', {}]])
    expect(report.after?.bytes).toBe(readFileSync(join(folder, 'j.onnx')).length)
    expect(report.command).toBe('pare quantize-weights net.onnx -o j.onnx --json')
    expect(quiet).toEqual({ status: 0, out: '', err: '' })
    expect(readFileSync(join(folder, 'q.onnx'))).toEqual(readFileSync(join(folder, 'j.onnx')))
  })

  it('tells what got worse since a baseline, and ends with 3 beyond a bound', async () => {
    await pare(['quantize-weights', 'net.onnx', '-o', 'int8.onnx', '--min-elements', '16', '--quiet'])
    const data = ['--data', 'x.npy', '--seconds', '0.2', '--quiet']
    const verify = ['verify', 'net.onnx', 'int8.onnx', ...data]
    expect((await pare([...verify, '--report', 'base.json'])).status).toBe(0)
    const gate = [...verify.with(2, 'net.onnx'), '--baseline', 'base.json', '--max-bytes', '1%', '--summary', 'sum.md']
    const failed = await pare([...gate, '--report', 'now.json'])
    expect(failed).toMatchObject({ status: 3, err: '' })
    expect(readFileSync(join(folder, 'sum.md'), 'utf8')).toContain('### ❌ file: beyond the bound')
    const now = JSON.parse(readFileSync(join(folder, 'now.json'), 'utf8')) as Report
    expect(now.gate?.rows.find((r) => r.what === 'bytes')).toMatchObject({ verdict: 'worse', failed: true })
    const back = await pare(['compare', 'now.json', 'base.json', '--max-bytes', '1%', '--json'])
    expect(back.status).toBe(0)
    expect(JSON.parse(back.out)).toMatchObject({ baseline: 'now.json', failed: false })
    expect((await pare([...verify, '--max-bytes', '1%'])).err).toContain('--baseline')
    expect((await pare(['compare', 'net.onnx', 'base.json'])).status).toBe(2)
  })

  it('leaves an existing output alone without --force', async () => {
    writeFileSync(join(folder, 'net.pare.onnx'), 'mine')
    const refused = await pare(['simplify', 'net.onnx'])
    expect(refused.status).toBe(2)
    expect(refused.err).toContain('E_EXISTS')
    expect(readFileSync(join(folder, 'net.pare.onnx'), 'utf8')).toBe('mine')
    expect((await pare(['simplify', 'net.onnx', '--force'])).status).toBe(0)
    expect(readFileSync(join(folder, 'net.pare.onnx'), 'latin1')).not.toBe('mine')
  })

  it.skipIf(process.getuid?.() === 0)('says so when it may not write (root may)', async () => {
    mkdirSync(join(folder, 'locked'))
    chmodSync(join(folder, 'locked'), 0o500)
    const { status, err } = await pare(['simplify', 'net.onnx', '-o', 'locked/out.onnx'])
    expect(status).toBe(2)
    expect(err).toContain('E_FILE')
  })

  it('inspects, in words and as text form', async () => {
    const { status, out } = await pare(['inspect', 'net.onnx', '--graph'])
    expect(status).toBe(0)
    expect(out).toContain('where the bytes are')
    expect(out).toContain('pare quantize-weights')
    expect(out).toMatch(/y: f32\[N,5\] = Gemm\(/)
  })

  it('compresses to the same bytes twice, and from the recipe of its report', async () => {
    const run = (out: string): Promise<Ended> =>
      pare(['compress', 'net.onnx', '--data', 'x.npy', '-o', out, '--objective', 'size', '--report', `${out}.html`])
    const [first, second] = await Promise.all([run('a.onnx'), run('b.onnx')])
    expect(first.err).not.toContain('pare:')
    expect([first.status, second.status]).toEqual([0, 0])
    expect(readFileSync(join(folder, 'a.onnx'))).toEqual(readFileSync(join(folder, 'b.onnx')))
    expect(readFileSync(join(folder, 'a.onnx.html'), 'utf8')).toContain('What was tried')
    const replayed = await pare(['compress', 'net.onnx', '--data', 'x.npy', '-o', 'c.onnx', '--recipe', 'a.onnx.html'])
    expect(replayed.status).toBe(0)
    expect(readFileSync(join(folder, 'c.onnx'))).toEqual(readFileSync(join(folder, 'a.onnx')))
  })

  it('ends with 3 and writes nothing when the promise cannot be kept', async () => {
    // A model whose classes are all decided by the sign of the weights: storing −W makes every answer wrong.
    const wrong = model`
      input x: f32[N,8]
      h: f32[N,5] = Gemm(x, W: f32[8,5])
      y: f32[N,5] = Neg(h)
      output y
    `
    const right = model`
      input x: f32[N,8]
      h: f32[N,5] = Gemm(x, W: f32[8,5])
      y: f32[N,5] = Identity(h)
      output y
    `
    await save(wrong, join(folder, 'wrong.onnx'))
    await save(right, join(folder, 'right.onnx'))
    const { status, out } = await pare([
      ...['verify', 'right.onnx', 'wrong.onnx', '--data', 'x.npy', '--seconds', '0.1', '--max-drop', '1%']
    ])
    expect(out).toContain('✗ not within 1 point')
    expect(status).toBe(3)
  })

  it('stops on Ctrl-C with 130 and leaves nothing half-written', async () => {
    const before = readdirSync(folder)
    const { status, err } = await pare(['bench', 'net.onnx', '--seconds', '600'], { interruptOn: /target/ })
    expect(status).toBe(130)
    expect(err).toContain('E_ABORTED')
    expect(readdirSync(folder)).toEqual(before)
  })
})
