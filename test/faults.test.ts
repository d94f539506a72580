/** What goes wrong around the program: bad input, hostile files, full disks, interrupts. Nothing is lost, and one message tells. */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  watch,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { arrayDataset } from '../src/data/arrays.ts'
import { writeModel } from '../src/formats/index.ts'
import { tensor, tensorOf } from '../src/ir/tensor.ts'
import { model, parse } from '../src/ir/text.ts'
import { load, save } from '../src/node/files.ts'
import { passes } from '../src/passes/index.ts'
import { applyRecipe } from '../src/passes/recipe.ts'
import type { Report } from '../src/report/types.ts'
import type { Model } from '../src/types.ts'
import { testContext } from './compare.ts'
import { type Ended, isBuilt, npy, npz, type Running, pare as run } from './program.ts'

const isRoot = process.getuid?.() === 0
const nobody = 65534
const samples = 64
let folder = ''
let scratch = ''

const at = (name: string): string => join(folder, name)
const write = (name: string, content: string | Uint8Array): void => writeFileSync(at(name), content)
const pare = (args: readonly string[], o: Partial<Running> = {}): Promise<Ended> =>
  run(args, { cwd: folder, ...o, env: { TMPDIR: scratch, ...o.env } })

const net = model`
  input x: f32[N,8]
  h: f32[N,64] = Gemm(x, W1: f32[8,64], b1: f32[64])
  r: f32[N,64] = Relu(h)
  y: f32[N,5] = Gemm(r, W2: f32[64,5], b2: f32[5])
  output y
`

/** The same model with every name changed. */
function renamed(m: Model, name: (id: string) => string): Model {
  const { graph } = m
  const all = (ids: readonly (string | null)[]) => ids.map((id) => (id ? name(id) : id))
  return {
    ...m,
    graph: {
      ...graph,
      inputs: graph.inputs.map(name),
      outputs: graph.outputs.map(name),
      values: new Map([...graph.values].map(([id, v]) => [name(id), { ...v, id: name(id) }])),
      nodes: graph.nodes.map((n) => ({
        ...n,
        name: name(n.name),
        inputs: all(n.inputs),
        outputs: all(n.outputs) as string[]
      }))
    }
  }
}

function withWeight(m: Model, id: string, at: number, value: number): Model {
  const v = m.graph.values.get(id)
  const data = v?.data
  if (!v || !data) throw new Error(`no weight ${id}`)
  const values = new Float32Array(data.bytes.slice().buffer)
  values[at] = value
  const changed = { ...v, data: tensor('float32', data.shape, values) }
  return { ...m, graph: { ...m.graph, values: new Map([...m.graph.values, [id, changed]]) } }
}

/** 128 MB of zeros: long to write. */
function large(): Model {
  const small = parse('opset 21\ninput x: f32[N,8]\ny = MatMul(x, W: f32[8,1])\noutput y')
  const data = tensorOf('float32', [8, 4_000_000], new Uint8Array(128_000_000))
  const weight = { id: 'W', type: 'tensor', dtype: 'float32', shape: data.shape, data } as const
  return { ...small, graph: { ...small.graph, values: new Map([...small.graph.values, ['W', weight]]) } }
}

const x = Float32Array.from({ length: samples * 8 }, (_, i) => Math.sin(i * 1.7))
const y = Array.from({ length: samples }, (_, i) => i % 5)

/** A data module. `body` is what its `batches` does. */
const dataModule = (body: string, size = samples): string => `
const batch = (n) => ({ n, inputs: { x: { dtype: 'float32', shape: [n, 8], bytes: new Uint8Array(n * 32) } } })
export default { size: ${size}, labelled: false, async *batches(o) { const count = o.indices?.length ?? ${size}; ${body} } }
`

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-faults-'))
  scratch = join(folder, 'scratch')
  mkdirSync(scratch)
  await save(net, at('net.onnx'))
  const whole = readFileSync(at('net.onnx'))
  write('empty.onnx', '')
  write('picture.onnx', Uint8Array.of(0xff, 0xd8, 0xff, 0xe0, 0, 16, 74, 70, 73, 70, 0, 1))
  write('pointer.onnx', 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n')
  write('cut.onnx', whole.subarray(0, whole.length >> 1))
  await save(withWeight(net, 'W1', 3, Number.NaN), at('nan.onnx'))
  await save(parse('opset 21\ninput x: string[N]\ny: string[N] = Identity(x)\noutput y'), at('strings.onnx'))
  await save(parse('opset 21\nconst c: f32[4]\ny: f32[4] = Relu(c)\noutput y'), at('closed.onnx'))
  await save(
    parse(`
      opset 21
      input x: f32[N,8]
      const s: i64[1] = 40000000000
      e = ConstantOfShape(s)
      m: f32[] = ReduceSum(e, keepdims=0)
      y: f32[N,8] = Add(x, m)
      output y
    `),
    at('bomb.onnx')
  )
  await save(large(), at('large.onnx'))
  write('good.npz', npz([samples, 8], x, y))
  write('x.npy', npy('<f4', [samples, 8], x))
  write('shape.npz', npz([samples, 2, 4], x, y))
  write('none.npz', npz([0, 8], new Float32Array(0), []))
  write(
    'label.npz',
    npz(
      [samples, 8],
      x,
      y.map((label) => label + 1)
    )
  )
  write('nan.npz', npz([samples, 8], x.with(9, Number.NaN), y))
  write('cut.npz', readFileSync(at('good.npz')).subarray(0, 900))
  write('claims.npy', npy('<f4', [2e9, 8], new Float32Array(8)))
  write('throws.mjs', dataModule('throw new Error("broken inside")'))
  write('endless.mjs', dataModule('for (;;) yield batch(1)'))
  write('recipe.json', '{ not json')
  write('unknown.json', '[["squash", {}]]')
  write('code.json', '[["./throws.mjs", {}]]')
  write('option.json', '[["quantize-weights", { "bytes": 4 }]]')
  write(
    'metric.mjs',
    `export default { name: 'm', better: 'higher', scale: 'real', needs: { labels: false, reference: false },
       scores() { throw new Error('broken inside') } }`
  )
}, 240_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const compress = (model: string, data: string, ...more: readonly string[]): string[] => [
  ...['compress', model, '--data', data, '--max-drop', '1%'],
  ...more
]

/** Words, code, and what the message must hold. */
const refused: readonly (readonly [readonly string[], string, ...string[]])[] = [
  [compress('empty.onnx', 'good.npz'), 'E_FORMAT', 'empty'],
  [compress('picture.onnx', 'good.npz'), 'E_FORMAT', 'picture.onnx', 'JPEG'],
  [['inspect', 'pointer.onnx'], 'E_FORMAT', 'git lfs pull'],
  [compress('cut.onnx', 'good.npz'), 'E_FORMAT', 'cut off'],
  [compress('nan.onnx', 'good.npz'), 'E_MODEL', 'NaN', 'W1'],
  [['compress', 'strings.onnx'], 'E_UNSUPPORTED', 'strings'],
  [['compress', 'closed.onnx'], 'E_MODEL', 'no inputs'],
  [['compress', 'bomb.onnx'], 'E_LIMIT', '160 GB', 'ConstantOfShape'],
  [compress('net.onnx', 'shape.npz'), 'E_DATA_SHAPE', '[N, 8]', '[64, 2, 4]'],
  [compress('net.onnx', 'none.npz'), 'E_DATA', 'no samples'],
  [compress('net.onnx', 'label.npz'), 'E_LABELS', 'label 5', '0 to 4'],
  [compress('net.onnx', 'nan.npz'), 'E_DATA', 'NaN', 'sample'],
  [compress('net.onnx', 'cut.npz'), 'E_DATA', 'cut.npz'],
  [compress('net.onnx', 'claims.npy'), 'E_DATA', 'claims.npy'],
  [compress('net.onnx', 'net.onnx'), 'E_DATA', '.npz'],
  [compress('net.onnx', 'good.npz', '--metric', 'top2'), 'E_OPTION', 'top1'],
  [compress('net.onnx', 'good.npz', '--max-drop', 'much'), 'E_USAGE', 'twice'],
  [compress('net.onnx', 'good.npz', '--preprocess', 'lab'), 'E_OPTION', 'imagenet'],
  [compress('net.onnx', 'good.npz', '--recipe', 'recipe.json'), 'E_USAGE', 'not JSON'],
  [compress('net.onnx', 'good.npz', '--recipe', 'unknown.json'), 'E_USAGE', 'squash', 'fuse'],
  [compress('net.onnx', 'good.npz', '--recipe', 'code.json'), 'E_USAGE', 'no pass'],
  [compress('net.onnx', 'good.npz', '--recipe', 'option.json'), 'E_OPTION', 'bytes'],
  [compress('net.onnx', 'good.npz', '--out', 'good.npz', '--force'), 'E_USAGE', 'endings that fit'],
  [compress('net.onnx', 'good.npz', '--out', 'net.onnx', '--force'), 'E_USAGE', 'the model itself'],
  [compress('net.onnx', 'good.npz', '--out', 'r.json', '--report', 'r.json'), 'E_USAGE', 'endings that fit'],
  [compress('net.onnx', 'good.npz', '--report', 'net.onnx/r.html'), 'E_FILE', 'not a folder'],
  [compress('net.onnx', 'good.npz', '--report', 'absent/r.html'), 'E_FILE', 'absent'],
  [['quantize-static', 'net.onnx', '--data', 'throws.mjs'], 'E_DATA', 'broken inside', 'throws.mjs'],
  [['quantize-static', 'net.onnx', '--data', 'endless.mjs'], 'E_DATA', 'or more samples'],
  [['verify', 'net.onnx', 'net.onnx', '--data', 'good.npz', '--metric', 'metric.mjs'], 'E_DATA', 'broken inside'],
  [['bench', 'net.onnx', '--seconds', 'long'], 'E_USAGE', 'a number']
]

describe.skipIf(!isBuilt)('the program under attack (needs npm run build)', () => {
  it('answers bad input with one message, status 2, and writes nothing', async () => {
    const before = readdirSync(folder)
    const wrong: string[] = []
    const one = async ([args, code, ...words]: (typeof refused)[number]): Promise<void> => {
      const { status, err } = await pare(args)
      const messages = err.match(/^pare: /gm)?.length
      const missing = [code, ...words].filter((word) => !err.includes(word))
      if (status !== 2 || messages !== 1 || missing.length > 0 || /^ {4}at /m.test(err))
        wrong.push(`${args.join(' ')}: status ${status}, without ${missing.join(', ')}\n${err}`)
    }
    const queue = [...refused]
    const work = async (): Promise<void> => {
      for (let next = queue.shift(); next; next = queue.shift()) await one(next)
    }
    await Promise.all([work(), work(), work()])
    expect(wrong.join('\n')).toBe('')
    expect(readdirSync(folder)).toEqual(before)
    expect(readdirSync(scratch)).toEqual([])
  }, 240_000)

  it('keeps standard output clean when it fails under --json', async () => {
    const { status, out, err } = await pare(['simplify', 'cut.onnx', '--json'])
    expect({ status, out }).toEqual({ status: 2, out: '' })
    expect(err).toContain('E_FORMAT')
  })

  it('ends with 3, with the report and without a file, when the promise cannot be kept', async () => {
    write('two.json', '[["quantize-weights", { "bits": 2, "form": "palette", "minElements": 1 }]]')
    const { status, out } = await pare([...compress('net.onnx', 'x.npy'), '--recipe', 'two.json', '--json'])
    expect(status).toBe(3)
    const report = JSON.parse(out) as Report
    expect(report.constraint).toEqual({ metric: 'agreement', maxDrop: 0.01, met: false })
    expect(report.output).toBeUndefined()
    expect(readdirSync(folder)).not.toContain('net.pare.onnx')
  })

  it('reads external weights only from the folder of the model', async () => {
    mkdirSync(at('inner'))
    await save(net, at('inner/out.onnx'), { write: { external: true } })
    const weights = readdirSync(at('inner')).find((name) => name.endsWith('.weights')) ?? ''
    writeFileSync(at(weights), readFileSync(at(`inner/${weights}`)))
    rmSync(at(`inner/${weights}`))
    symlinkSync(at(weights), at(`inner/${weights}`))
    const { status, err } = await pare(['simplify', 'inner/out.onnx', '-o', 'linked.onnx'])
    expect(status).toBe(2)
    expect(err).toContain("outside the model's folder")
  })

  it('shows hostile names without obeying them', async () => {
    const evil = '\u001b[2J\u0007<script>alert(1)</script>\u202e"\'`\n'
    await save(
      renamed(net, (id) => (id === 'x' ? id : evil + id)),
      at('evil.onnx')
    )
    const words = [
      'verify',
      'evil.onnx',
      'evil.onnx',
      '--data',
      'good.npz',
      '--seconds',
      '0.1',
      '--report',
      'evil.html'
    ]
    const [verified, inspected] = await Promise.all([pare(words), pare(['inspect', 'evil.onnx', '--graph'])])
    expect([verified.status, inspected.status]).toEqual([0, 0])
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these must not reach a terminal
    for (const { out } of [verified, inspected]) expect(out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/)
    expect(readFileSync(at('evil.html'), 'utf8')).not.toContain('<script>alert')
  })

  it('takes a model of several inputs and outputs, and one of a fixed batch', async () => {
    await save(
      model`
        input a: f32[4,8]
        input b: f32[4,8]
        h: f32[4,64] = MatMul(a, W1: f32[8,64])
        r: f32[4,64] = Relu(h)
        k: f32[4,64] = MatMul(b, W2: f32[8,64])
        s: f32[4,64] = Add(r, k)
        y: f32[4,4] = MatMul(s, W3: f32[64,4])
        z: f32[4,64] = Sigmoid(k)
        output y, z
      `,
      at('many.onnx')
    )
    const { status, err } = await pare(['bench', 'many.onnx', '--seconds', '0.1'])
    expect(err).not.toContain('pare:')
    expect(status).toBe(0)
  })

  it.skipIf(!isRoot && process.platform === 'win32')('says so where it may not write', async () => {
    mkdirSync(at('locked'))
    chmodSync(at('locked'), 0o555)
    chmodSync(folder, 0o755)
    const other = isRoot ? { uid: nobody, env: { TMPDIR: tmpdir() } } : {}
    if ((await pare(['--version'], other)).status !== 0) return // The checkout is closed to other users.
    const { status, err } = await pare(['simplify', 'net.onnx', '-o', 'locked/out.onnx'], other)
    expect(status).toBe(2)
    expect(err).toContain('E_FILE')
    expect(err).toContain('locked')
    expect(readdirSync(at('locked'))).toEqual([])
  })

  it.skipIf(process.platform === 'win32')('keeps the old file when the new one does not fit', async () => {
    write('kept.onnx', 'OLD')
    const limited = { through: ['bash', '-c', 'ulimit -f 1; exec "$@"', '-'] }
    const { status, err } = await pare(['simplify', 'net.onnx', '-o', 'kept.onnx', '--force'], limited)
    expect(status).toBe(2)
    expect(err).toContain('E_FILE')
    expect(readFileSync(at('kept.onnx'), 'utf8')).toBe('OLD')
    expect(leftovers('kept.onnx')).toEqual([])
  })

  it('keeps the old file on a full disk (where a small one can be mounted)', async (test) => {
    mkdirSync(at('small'))
    const mounted = isRoot && system(['mount', '-t', 'tmpfs', '-o', 'size=4k', 'tmpfs', at('small')])
    if (!mounted) return test.skip('only root may mount a small disk')
    try {
      write('small/out.onnx', 'OLD')
      const { status, err } = await pare(['simplify', 'net.onnx', '-o', 'small/out.onnx', '--force'])
      expect(status).toBe(2)
      expect(err).toContain('the disk is full')
      expect(readFileSync(at('small/out.onnx'), 'utf8')).toBe('OLD')
      expect(readdirSync(at('small'))).toEqual(['out.onnx'])
    } finally {
      system(['umount', at('small')])
    }
  })

  it('lets one of several writers win when none may overwrite', async () => {
    const all = await Promise.all([1, 2, 3].map(() => pare(['quantize-weights', 'net.onnx', '-o', 'race.onnx'])))
    expect(all.filter((e) => e.status === 0)).toHaveLength(1)
    for (const { status, err } of all) if (status !== 0) expect(err).toContain('E_EXISTS')
    expect((await load(at('race.onnx'))).graph.nodes.length).toBeGreaterThan(0)
    expect(leftovers('race.onnx')).toEqual([])
  })

  it('stops on Ctrl-C in the middle of calibration, with 130 and nothing left behind', async () => {
    write(
      'slow.mjs',
      dataModule('console.log("batch asked"); for (let n = 0; n < count; n += 1) yield batch(1)', 2_000_000)
    )
    write('old.onnx', 'OLD')
    const { status, err } = await pare(
      ['quantize-static', 'net.onnx', '--data', 'slow.mjs', '-o', 'old.onnx', '--force'],
      {
        watch: (child, heard) => void heard(/batch asked/).then(() => child.kill('SIGINT'))
      }
    )
    expect(status).toBe(130)
    expect(err).toContain('E_ABORTED')
    expect(readFileSync(at('old.onnx'), 'utf8')).toBe('OLD')
    expect(leftovers('old.onnx')).toEqual([])
    expect(readdirSync(scratch)).toEqual([])
  })

  it.each(['SIGINT', 'SIGKILL'] as const)('has the old file or the new one after %s while writing', async (signal) => {
    write('large.out.onnx', 'OLD')
    const { status } = await pare(['convert', 'large.onnx', '-o', 'large.out.onnx', '--force', '--quiet'], {
      env: { TMPDIR: tmpdir() },
      watch: (child) => {
        const watching = watch(folder, (_, name) => {
          if (!name?.endsWith('.tmp')) return
          child.kill(signal)
          watching.close()
        })
      }
    })
    const now = readFileSync(at('large.out.onnx'))
    const isOld = now.toString('latin1', 0, 3) === 'OLD'
    if (!isOld) expect((await load(at('large.out.onnx'))).graph.outputs).toEqual(['y'])
    if (signal === 'SIGKILL') return
    expect(status).toBe(isOld ? 130 : 0)
    expect(leftovers('large.out.onnx')).toEqual([])
  })

  it('gives the same bytes twice, for every pass', async () => {
    const viaProgram = ['quantize-static', 'mix-precision']
    const wrong: string[] = []
    // distill needs a student, cascade a small model, early-exit many samples, and prune-blocks residual joins: their own tests
    // give them these.
    const apart = ['distill', 'cascade', 'early-exit', 'prune-blocks']
    for (const { name } of passes.filter((p) => ![...viaProgram, ...apart].includes(p.name))) {
      const [a, b] = [await bytesOf(name), await bytesOf(name)]
      if (!a.equals(b)) wrong.push(name)
    }
    expect(wrong).toEqual([])
    for (const pass of viaProgram) {
      const outs = [`${pass}.1.onnx`, `${pass}.2.onnx`]
      const ended = await Promise.all(outs.map((out) => pare([pass, 'net.onnx', '--data', 'good.npz', '-o', out])))
      expect(ended.map((e) => e.err).join()).not.toContain('pare:')
      const [first, second] = outs.map((out) => readFileSync(at(out)))
      expect(first?.equals(second as Buffer)).toBe(true)
    }
  })
})

/** Options without which a pass does nothing. */
const needed: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'prune-channels': { ratio: 0.5 },
  factorize: { energy: 0.5 },
  'prune-weights': { ratio: 0.5 }
}

/** What a pass makes of the small net, as a file. */
async function bytesOf(pass: string): Promise<Buffer> {
  const data = arrayDataset({ inputs: { x: tensor('float32', [samples, 8], x) }, labels: y })
  const ctx = { ...testContext(), data: { calibration: data, selection: data, train: data } }
  const made = await applyRecipe(net, [[pass, needed[pass] ?? {}]], ctx)
  return Buffer.from(writeModel(made.model).bytes)
}

/** Did a command of the system do its work? */
const system = ([command = '', ...args]: readonly string[]): boolean => spawnSync(command, args).status === 0

/** Files that a write of `name` left beside it. */
const leftovers = (name: string): string[] =>
  readdirSync(folder).filter((other) => other.includes(name) && other !== name)
