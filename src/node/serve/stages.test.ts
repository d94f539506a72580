import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { serveOptions } from '../../../test/serve-models.ts'
import { toArray } from '../../base/bytes.ts'
import { rng } from '../../base/random.ts'
import { planText } from '../../cli/serve-plan.ts'
import { type Adaptive, withAdaptive } from '../../data/adaptive.ts'
import { writeModel } from '../../formats/index.ts'
import { foldStages } from '../../ir/stages.ts'
import { bytesOf, equalTensors } from '../../ir/tensor.ts'
import { parse } from '../../ir/text.ts'
import { inferShapes } from '../../ops/infer.ts'
import { noStyle } from '../../report/table.ts'
import { difference } from '../../serve/batching.ts'
import type { Tensor } from '../../types.ts'
import { nodeRunner } from '../runner.ts'
import { planOf, type Server, serve } from './index.ts'
import type { Served } from './model.ts'
import { rateOf, workOf } from './pool.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-stages-'))
const servers: Server[] = []
afterAll(async () => {
  for (const server of servers) await server.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Straight models; their exits are `first` and, where there is one, `second`. */
const texts = {
  /** Two networks side by side. */
  cascade: `
  input x: f32[N,3,8,8]
  a = Conv(x, A: f32[4,3,3,3])
  ar = Relu(a)
  ap = GlobalAveragePool(ar)
  af = Flatten(ap)
  first = Gemm(af, AG: f32[4,5])
  b = Conv(x, B: f32[8,3,3,3], pads=[1,1,1,1])
  br = Relu(b)
  c = Conv(br, C: f32[8,8,3,3])
  bp = GlobalAveragePool(c)
  bf = Flatten(bp)
  y = Gemm(bf, BG: f32[8,5])
  output y`,
  /** The same on integers whose scales are constants; sums of products stay small. */
  int8: `
  input x: f32[N,3,8,8]
  const s: f32[] = 0.03
  const z: i8[] = 0
  const sw: f32[] = 0.01
  const zw: i8[] = 0
  const so: f32[] = 0.02
  const wa: i8[5,3,8,8]
  const wb: i8[6,3,3,3]
  const wc: i8[5,6,6,6]
  q = QuantizeLinear(x, s, z)
  d = DequantizeLinear(q, s, z)
  da = DequantizeLinear(wa, sw, zw)
  a = Conv(d, da)
  qa = QuantizeLinear(a, so, z)
  ra = DequantizeLinear(qa, so, z)
  first = Flatten(ra)
  db = DequantizeLinear(wb, sw, zw)
  b = Conv(d, db)
  qb = QuantizeLinear(b, so, z)
  rb = DequantizeLinear(qb, so, z)
  dc = DequantizeLinear(wc, sw, zw)
  c = Conv(rb, dc)
  qc = QuantizeLinear(c, so, z)
  rc = DequantizeLinear(qc, so, z)
  y = Flatten(rc)
  output y`,
  /** Two exits; the last stage reads a value of each of the earlier ones. */
  exits: `
  input x: f32[N,3,8,8]
  flat = Flatten(x)
  a = Gemm(flat, A: f32[192,16])
  h = Relu(a)
  first = Gemm(h, F: f32[16,5])
  b = Gemm(h, B: f32[16,12])
  r = Relu(b)
  second = Gemm(r, S: f32[12,5])
  c = Gemm(r, C: f32[12,16])
  both = Add(c, h)
  y = Gemm(both, Y: f32[16,5])
  output y`
} as const
type Kind = keyof typeof texts

function write(kind: Kind, threshold: number, name: string = kind): string {
  const straight = inferShapes(parse(texts[kind]))
  const exits = kind === 'exits' ? ['first', 'second'] : ['first']
  const folded = foldStages(
    straight,
    exits.map((scores) => ({ scores, threshold })),
    'logits'
  )
  const adaptive: Adaptive = {
    ...{ version: 1, kind: kind === 'exits' ? 'early-exit' : 'cascade', form: 'logits', threshold },
    stages: kind === 'exits' ? ['one', 'two', 'three'] : ['small', 'large'],
    exits: [...folded.exits],
    counts: kind === 'exits' ? [50, 30, 20] : [60, 40],
    guarantee: { kind: 'disagreement', most: 0.1, risk: 0.05, bound: 0.05, n: 100, changed: 0 }
  }
  const path = join(folder, `${name}.onnx`)
  writeFileSync(path, toArray(writeModel(withAdaptive(folded.model, adaptive)).bytes))
  return path
}

const pictures = (n: number, seed: number): Tensor => {
  const r = rng(seed)
  return {
    dtype: 'float32',
    shape: [n, 3, 8, 8],
    bytes: bytesOf(Float32Array.from({ length: n * 192 }, () => r.normal()))
  }
}

async function ask(url: string, name: string, x: Tensor): Promise<Tensor> {
  const head = Buffer.from(
    JSON.stringify({
      parameters: { binary_data_output: true },
      inputs: [{ name: 'x', datatype: 'FP32', shape: x.shape, parameters: { binary_data_size: x.bytes.length } }]
    })
  )
  const reply = await fetch(`${url}/v2/models/${name}/infer`, {
    ...{ method: 'POST', headers: { 'inference-header-content-length': String(head.length) } },
    body: Buffer.concat([head, x.bytes as Uint8Array])
  })
  const bytes = Buffer.from(await reply.arrayBuffer())
  if (reply.status !== 200) throw new Error(bytes.toString())
  const jsonBytes = Number(reply.headers.get('inference-header-content-length'))
  const [{ shape }] = JSON.parse(bytes.subarray(0, jsonBytes).toString()).outputs
  return { dtype: 'float32', shape, bytes: new Uint8Array(bytes.subarray(jsonBytes)) }
}

interface StageFigures {
  readonly name: string
  readonly answered: number
  readonly samples: number
}
const statsOf = async (
  url: string,
  name: string
): Promise<{ stages: StageFigures[]; samples: number; checked: string }> =>
  ((await (await fetch(`${url}/stats`)).json()) as { models: { name: string }[] }).models.find(
    (m) => m.name === name
  ) as never

const thresholds: Readonly<Record<Kind, number>> = { cascade: 0.23, int8: 0.3, exits: 0.6 }

describe('a file with stages', () => {
  it('is run by them, with the results of the one file', async () => {
    const kinds = Object.keys(texts) as Kind[]
    for (const kind of kinds) write(kind, thresholds[kind])
    const server = await serve({ ...serveOptions(folder), batch: 4 })
    servers.push(server)
    const { url } = server
    for (const kind of kinds) {
      const requests = Array.from({ length: 40 }, (_, i) => pictures(1 + (i % 6), i))
      const replies = await Promise.all(requests.map((x) => ask(url, kind, x)))
      const session = await nodeRunner().open({ path: join(folder, `${kind}.onnx`) })
      for (const [i, x] of requests.entries()) {
        const { y } = (await session.run({ x })) as { y: Tensor }
        const given = replies[i] as Tensor
        if (kind === 'int8') expect(equalTensors(y, given), `${kind} ${i}`).toBe(true)
        else expect(difference(new Map([['y', y]]), new Map([['y', given]]))).toBeLessThan(1e-4)
      }
      await session.close()
      const { stages, samples, checked } = await statsOf(url, kind)
      const all = requests.reduce((n, x) => n + (x.shape[0] as number), 0)
      expect(checked).toContain('each gives what the file gives')
      expect(samples).toBe(all)
      expect(stages.map((s) => s.name)).toEqual(kind === 'exits' ? ['one', 'two', 'three'] : ['small', 'large'])
      expect(stages.reduce((n, s) => n + s.answered, 0)).toBe(all)
      for (const [i, s] of stages.entries()) {
        expect(s.answered, `${kind} ${s.name}`).toBeGreaterThan(0)
        expect(s.samples).toBe(all - stages.slice(0, i).reduce((n, e) => n + e.answered, 0))
      }
    }
    const text = await (await fetch(`${url}/metrics`)).text()
    expect(text).toMatch(/^pare_stage_samples_total\{model="cascade",version="1",stage="large"\} [1-9]\d*$/m)
    // With another threshold it is the same model, and all samples go on.
    write('cascade', 2)
    const was = await statsOf(url, 'cascade')
    await server.reload()
    await ask(url, 'cascade', pictures(5, 1))
    expect((await statsOf(url, 'cascade')).stages).toMatchObject([
      { answered: 0, samples: 5 },
      { answered: 5, samples: 5 }
    ])
    expect(was.stages[0]?.answered).toBeGreaterThan(0)
  }, 60_000)

  it('is planned stage by stage', async () => {
    const path = write('exits', 0.6, 'planned')
    const plan = await planOf({ ...serveOptions(path), isIsolated: true })
    const text = planText(plan, noStyle, false)
    expect(text).toMatch(/stage one: 50 % of its samples are expected to end here/)
    expect(text).toMatch(/stage two: 60 %/)
    expect(text).toMatch(/stage three\n/)
    // What waits is counted with the share that goes on.
    const [served] = plan.models as [Served]
    const [a, b, c] = served.stages.map((s) => rateOf(s, '')) as [number, number, number]
    expect(workOf(served, served.stages[0], '')).toBeCloseTo(a + 0.5 * (b + 0.4 * c))
  }, 30_000)

  it('is run as it is, with the reason, where it was changed since', async () => {
    const path = write('cascade', 0.5, 'changed')
    const model = withAdaptive(
      foldStages(inferShapes(parse(texts.cascade)), [{ scores: 'first', threshold: 0.5 }], 'logits').model,
      {
        ...{ version: 1, kind: 'cascade', form: 'logits', threshold: 0.5, stages: ['small', 'large'], counts: [1, 1] },
        exits: [{ scores: 'gone', confidence: 'gone', hard: 'gone', threshold: 'gone' }],
        guarantee: { kind: 'disagreement', most: 0.1, risk: 0.05, bound: 0.05, n: 100, changed: 0 }
      }
    )
    writeFileSync(path, toArray(writeModel(model).bytes))
    const { models } = await planOf(serveOptions(path))
    expect(models[0]?.stages).toMatchObject([
      { name: 'model', tuning: { why: expect.stringContaining('run as one file: it was changed after it was made') } }
    ])
  }, 30_000)
})
