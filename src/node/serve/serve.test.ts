import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Kind, serveOptions, writeKind, writeKinds } from '../../../test/serve-models.ts'
import { rng } from '../../base/random.ts'
import { writeModel } from '../../formats/index.ts'
import { bytesOf, equalTensors } from '../../ir/tensor.ts'
import { parse } from '../../ir/text.ts'
import { difference } from '../../serve/batching.ts'
import type { Tensor } from '../../types.ts'
import { nodeRunner } from '../runner.ts'
import { type ServeOptions, type Server, serve } from './index.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-serve-'))
const servers: Server[] = []
afterAll(async () => {
  for (const server of servers) await server.close()
  rmSync(folder, { recursive: true, force: true })
})

async function start(path: string, more: Partial<ServeOptions> = {}): Promise<string> {
  const server = await serve({ ...serveOptions(path), ...more })
  servers.push(server)
  return server.url
}

const json = async (url: string, body?: unknown): Promise<readonly [status: number, reply: never]> => {
  const reply = await fetch(url, body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) })
  return [reply.status, (await reply.json()) as never]
}

interface Came {
  readonly status: number | undefined
  readonly bytes: Buffer
  readonly jsonBytes: number
}

/** Waits for a connection for as long as that takes, where `fetch` gives up after 10 s: a thousand at a time stand in line. */
const post = (url: string, head: Buffer, body: Buffer): Promise<Came> =>
  new Promise((resolve, reject) => {
    const headers = { 'inference-header-content-length': String(head.length), 'content-length': String(body.length) }
    const sent = request(url, { method: 'POST', headers }, (reply) => {
      const parts: Buffer[] = []
      reply.on('data', (d: Buffer) => parts.push(d))
      reply.on('end', () =>
        resolve({
          status: reply.statusCode,
          bytes: Buffer.concat(parts),
          jsonBytes: Number(reply.headers['inference-header-content-length'])
        })
      )
    })
    sent.on('error', reject)
    sent.end(body)
  })

/** A request whose tensors all go and come as bytes. */
async function binary(
  url: string,
  inputs: Readonly<Record<string, Tensor>>,
  id = ''
): Promise<{ id: string; outputs: Map<string, Tensor> }> {
  const head = Buffer.from(
    JSON.stringify({
      id,
      parameters: { binary_data_output: true },
      inputs: Object.entries(inputs).map(([name, t]) => ({
        ...{ name, shape: t.shape, datatype: { float32: 'FP32', int64: 'INT64' }[t.dtype as 'float32'] },
        parameters: { binary_data_size: t.bytes.length }
      }))
    })
  )
  const reply = await post(url, head, Buffer.concat([head, ...Object.values(inputs).map((t) => t.bytes as Uint8Array)]))
  const { bytes, jsonBytes } = reply
  if (reply.status !== 200) throw new Error(bytes.toString())
  const told = JSON.parse(bytes.subarray(0, jsonBytes).toString())
  let at = jsonBytes
  const outputs = told.outputs.map((o: { name: string; shape: number[]; parameters: { binary_data_size: number } }) => {
    const own = new Uint8Array(bytes.subarray(at, at + o.parameters.binary_data_size))
    at += own.length
    return [o.name, { dtype: 'float32', shape: o.shape, bytes: own }]
  })
  return { id: told.id, outputs: new Map(outputs) }
}

const floats = (shape: readonly number[], seed: number): Tensor => {
  const r = rng(seed)
  return {
    dtype: 'float32',
    shape,
    bytes: bytesOf(Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => r.normal()))
  }
}

describe('models', () => {
  let url = ''
  beforeAll(async () => {
    url = await start(writeKinds(join(folder, 'kinds'), ['conv', 'int8', 'dynamic', 'lstm', 'echo', 'table']))
  }, 60_000)

  it('are told of as the protocol has it', async () => {
    expect(await json(`${url}/v2`)).toMatchObject([
      200,
      { name: 'pare', extensions: expect.arrayContaining(['binary_tensor_data']) }
    ])
    expect(await json(`${url}/v2/health/live`)).toEqual([200, { live: true }])
    expect(await json(`${url}/v2/health/ready`)).toEqual([200, { ready: true, live: true }])
    expect(await json(`${url}/v2/models/lstm/ready`)).toEqual([200, { name: 'lstm', ready: true }])
    expect(await json(`${url}/v2/models/conv`)).toEqual([
      200,
      {
        ...{ name: 'conv', versions: ['1'], platform: 'onnx_onnxv1' },
        inputs: [{ name: 'image', datatype: 'FP32', shape: [-1, 3, -1, -1] }],
        outputs: [{ name: 'logits', datatype: 'FP32', shape: [-1, 5] }]
      }
    ])
    expect(await json(`${url}/v2/models/echo/versions/1/config`)).toMatchObject([
      200,
      {
        name: 'echo',
        input: [{ name: 'fp32', data_type: 'TYPE_FP32', dims: [2] }, {}, {}, { data_type: 'TYPE_STRING' }, {}]
      }
    ])
    expect(await json(`${url}/v2/models/conv/versions/2`)).toEqual([404, { error: 'conv has no version 2' }])
    expect(await json(`${url}/v2/models/other/infer`, {})).toEqual([404, { error: 'there is no model other' }])
    expect(await json(`${url}/v2/repository/index`, { ready: true })).toMatchObject([
      200,
      expect.arrayContaining([{ name: 'lstm', version: '1', state: 'READY', reason: '' }])
    ])
  })

  it('answer in JSON in every type', async () => {
    const inputs = [
      { name: 'fp32', datatype: 'FP32', shape: [1, 2], data: [0.1, -2] },
      { name: 'int64', datatype: 'INT64', shape: [1, 2], data: ['9223372036854775807', -5] },
      { name: 'flag', datatype: 'BOOL', shape: [1, 2], data: [[true, false]] },
      { name: 'text', datatype: 'BYTES', shape: [1, 2], data: ['ä', ''] },
      { name: 'fp16', datatype: 'FP16', shape: [1, 2], data: [0.1, 65504] }
    ]
    const reply = await fetch(`${url}/v2/models/echo/infer`, {
      method: 'POST',
      body: JSON.stringify({ id: 'a', inputs })
    })
    expect(await reply.text()).toBe(
      '{"id":"a","model_name":"echo","model_version":"1","outputs":[' +
        '{"name":"out_fp32","datatype":"FP32","shape":[1,2],"data":[0.100000001,-2]},' +
        '{"name":"out_int64","datatype":"INT64","shape":[1,2],"data":[9223372036854775807,-5]},' +
        '{"name":"out_flag","datatype":"BOOL","shape":[1,2],"data":[true,false]},' +
        '{"name":"out_text","datatype":"BYTES","shape":[1,2],"data":["ä",""]},' +
        '{"name":"out_fp16","datatype":"FP16","shape":[1,2],"data":[0.099976,65504]}]}'
    )
  })

  it('take compressed requests', async () => {
    const body = { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 2, 6], data: Array(12).fill(0.5) }] }
    const plain = await json(`${url}/v2/models/lstm/infer`, body)
    const packed = await fetch(`${url}/v2/models/lstm/infer`, {
      ...{ method: 'POST', headers: { 'content-encoding': 'gzip' } },
      body: gzipSync(JSON.stringify(body))
    })
    expect(await packed.json()).toEqual(plain[1])
  })

  it('fail one by one where they are run together', async () => {
    const ask = (id: number) =>
      json(`${url}/v2/models/table/infer`, { inputs: [{ name: 'id', datatype: 'INT64', shape: [1, 1], data: [id] }] })
    const replies = await Promise.all([0, 1, 99, 3, -99, 5, 6].map(ask))
    expect(replies.map(([status]) => status)).toEqual([200, 200, 500, 200, 500, 200, 200])
    expect(replies[2]?.[1]).toMatchObject({ error: expect.stringContaining('99') })
    expect(JSON.stringify(replies[2])).not.toMatch(/onnxruntime_src|\.cc:/)
  })

  it('are counted', async () => {
    await binary(`${url}/v2/models/lstm/infer`, { x: floats([3, 4, 6], 1) })
    const [
      ,
      {
        model_stats: [stats]
      }
    ] = (await json(`${url}/v2/models/lstm/stats`)) as unknown as [number, { model_stats: [Record<string, number>] }]
    expect(stats).toMatchObject({ name: 'lstm', inference_stats: { success: { count: expect.any(Number) } } })
    expect(stats['inference_count']).toBeGreaterThanOrEqual(stats['execution_count'] as number)
    const text = await (await fetch(`${url}/metrics`)).text()
    expect(text).toMatch(/^nv_inference_request_success\{model="lstm",version="1"\} \d+$/m)
    expect(text).toMatch(/^pare_request_seconds_bucket\{model="lstm",version="1",le="\+Inf"\} \d+$/m)
    expect(text).toMatch(/^nv_inference_request_failure\{model="table",version="1",reason="BACKEND"\} 2$/m)
    expect(await (await fetch(url)).text()).toContain('Models that are served here')
  })

  it('are batched only where a sample’s results are its own', async () => {
    const [, { models }] = (await json(`${url}/stats`)) as unknown as [
      number,
      { models: { name: string; stages: [{ batch: { size: number; why: string } }] }[] }
    ]
    const batch = Object.fromEntries(models.map((m) => [m.name, m.stages[0].batch]))
    expect(batch['dynamic']).toMatchObject({ size: 1, why: expect.stringContaining('depend on its company') })
    expect(batch['conv']?.why).toContain('as fast')
    expect(batch['lstm']?.why).toContain('as fast')
  })
})

/** Inputs of mixed shapes for each kind. */
const mixed: Partial<Record<Kind, (i: number) => Record<string, Tensor>>> = {
  conv: (i) => ({ image: floats([1 + (i % 3), 3, 8 + 4 * (i % 2), 8], i) }),
  int8: (i) => ({ image: floats([1 + (i % 4), 3, 16, 16], i) }),
  dynamic: (i) => ({ x: floats([1 + (i % 2), 32], i) }),
  lstm: (i) => ({ x: floats([1 + (i % 2), 2 + (i % 5), 6], i) })
}

it('gives every one of many requests at a time what it would get alone', async () => {
  const kinds = Object.keys(mixed) as Kind[]
  // All wait at once: on a busy machine the last one's turn comes late.
  const url = await start(writeKinds(join(folder, 'mixed'), kinds), { batch: 8, timeoutMs: 250_000 })
  const requests = Array.from({ length: process.env['PARE_SERVE_FULL'] === '1' ? 1000 : 200 }, (_, i) => {
    const kind = kinds[i % kinds.length] as Kind
    return { kind, id: `${kind} ${i}`, inputs: (mixed[kind] as (i: number) => Record<string, Tensor>)(i) }
  })
  const replies = await Promise.all(requests.map((r) => binary(`${url}/v2/models/${r.kind}/infer`, r.inputs, r.id)))
  const sessions = new Map(
    await Promise.all(
      kinds.map(async (k) => [k, await nodeRunner().open({ path: join(folder, 'mixed', `${k}.onnx`) })] as const)
    )
  )
  for (const [i, { kind, id, inputs }] of requests.entries()) {
    const alone = Object.entries((await sessions.get(kind)?.run(inputs)) ?? {})
    expect(replies[i]?.id).toBe(id)
    for (const [name, t] of alone) {
      const given = replies[i]?.outputs.get(name) as Tensor
      if (kind === 'lstm') expect(difference(new Map([[name, t]]), new Map([[name, given]]))).toBeLessThan(1e-5)
      else expect(equalTensors(t, given), id).toBe(true)
    }
  }
  for (const s of sessions.values()) await s.close()
  const [, { models }] = (await json(`${url}/stats`)) as unknown as [
    number,
    { models: { name: string; samples: number; runs: number }[] }
  ]
  const together = models.find((m) => m.name === 'int8')
  expect(together?.runs).toBeLessThan(together?.samples as number)
}, 600_000)

describe('a model that is replaced', () => {
  const ask = (url: string, version = '') =>
    json(`${url}/v2/models/net${version}/infer`, {
      inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }]
    }) as unknown as Promise<[number, { outputs: [{ data: number[] }] }]>

  it('loses no request, and stays where the new file is no good', async () => {
    const path = join(folder, 'replaced')
    writeKind('double', join(path, 'net', '1', 'model.onnx'))
    const url = await start(path)
    let isDone = false
    const seen = new Set<string>()
    const asking = (async () => {
      while (!isDone) {
        const [status, reply] = await ask(url)
        seen.add(`${status} ${reply.outputs?.[0].data}`)
      }
    })()
    writeKind('triple', join(path, 'net', '1', 'model.onnx'))
    expect((await json(`${url}/v2/repository/models/net/load`, {}))[0]).toBe(200)
    expect((await ask(url))[1].outputs[0].data).toEqual([3, 6, 9, 12])
    writeKind('lstm', join(path, 'net', '1', 'model.onnx'))
    expect(await json(`${url}/v2/repository/models/net/load`, {})).toMatchObject([
      400,
      { error: expect.stringContaining('other inputs or outputs') }
    ])
    expect((await ask(url))[1].outputs[0].data).toEqual([3, 6, 9, 12])
    isDone = true
    await asking
    expect([...seen].toSorted()).toEqual(['200 2,4,6,8', '200 3,6,9,12'])
  }, 30_000)

  it('may be another version, and may go', async () => {
    const path = join(folder, 'versions')
    writeKind('double', join(path, 'net', '1', 'model.onnx'))
    writeKind('triple', join(path, 'net', '2', 'model.onnx'))
    const url = await start(path)
    expect((await ask(url))[1].outputs[0].data).toEqual([3, 6, 9, 12])
    expect((await ask(url, '/versions/1'))[1].outputs[0].data).toEqual([2, 4, 6, 8])
    expect(
      (await json(`${url}/v2/repository/models/net/unload`, { parameters: { unload_dependents: false } }))[0]
    ).toBe(200)
    expect(await ask(url)).toEqual([503, { error: 'net is not ready: UNAVAILABLE' }])
    expect(
      await json(`${url}/v2/repository/models/net/load`, { parameters: { 'file:1/model.onnx': 'AAAA' } })
    ).toMatchObject([400, { error: expect.stringContaining('own folder') }])
    expect((await json(`${url}/v2/repository/models/net/load`, {}))[0]).toBe(200)
    expect((await ask(url))[0]).toBe(200)
  }, 30_000)
})

it('refuses at once what would be late, and answers what it takes in time', async () => {
  const path = join(folder, 'late')
  writeKind('loop', join(path, 'loop.onnx'))
  const url = await start(path, { workers: 1 })
  const x = Array(64 * 64).fill(0.1)
  const ask = (steps: number, timeout?: number) =>
    json(`${url}/v2/models/loop/infer`, {
      ...(timeout ? { parameters: { timeout } } : {}),
      inputs: [
        { name: 'steps', datatype: 'INT64', shape: [1], data: [steps] },
        { name: 'x', datatype: 'FP32', shape: [64, 64], data: x }
      ]
    })
  // It learns from runs how long they take.
  for (let i = 0; i < 30; i++) await ask(500)
  const replies = await Promise.all(Array.from({ length: 40 }, () => ask(500, 100_000)))
  const statuses = replies.map(([status]) => status)
  expect(statuses).toContain(200)
  expect(statuses).toContain(503)
  expect(new Set(statuses)).toEqual(new Set([200, 503]))
}, 60_000)

it('goes on with a fresh process where one was killed', async () => {
  const path = join(folder, 'isolated')
  writeKind('double', join(path, 'net.onnx'))
  writeKind('loop', join(path, 'loop.onnx'))
  const url = await start(path, { workers: 1, isIsolated: true, hangMs: 1000 })
  const ask = () =>
    json(`${url}/v2/models/net/infer`, { inputs: [{ name: 'x', datatype: 'FP32', shape: [1, 4], data: [1, 2, 3, 4] }] })
  expect((await ask())[0]).toBe(200)
  const hung = await json(`${url}/v2/models/loop/infer`, {
    inputs: [
      { name: 'steps', datatype: 'INT64', shape: [1], data: [1e9] },
      { name: 'x', datatype: 'FP32', shape: [64, 64], data: Array(64 * 64).fill(0.1) }
    ]
  })
  expect(hung).toMatchObject([
    503,
    { error: expect.stringContaining('the worker was lost: a run took longer than 1000 ms') }
  ])
  expect((await ask())[0]).toBe(200)
  expect((await json(`${url}/v2/health/ready`))[0]).toBe(200)
}, 30_000)

it('fills requests up by a mask, where that changes nothing', async () => {
  const path = writeKinds(join(folder, 'masks'), ['masked', 'unmasked'])
  const url = await start(path, { mask: 'mask', batch: 8, workers: 1 })
  const inputs = (i: number): Record<string, Tensor> => {
    const n = 3 + (i % 6)
    const mask = { dtype: 'float32' as const, shape: [1, n], bytes: bytesOf(new Float32Array(n).fill(1)) }
    return { x: floats([1, n, 4], i), mask }
  }
  const replies = await Promise.all(
    Array.from({ length: 24 }, (_, i) => binary(`${url}/v2/models/masked/infer`, inputs(i)))
  )
  const session = await nodeRunner().open({ path: join(path, 'masked.onnx') })
  for (const [i, { outputs }] of replies.entries())
    expect(difference(new Map(Object.entries(await session.run(inputs(i)))), outputs)).toBeLessThan(1e-6)
  await session.close()
  const [, { models }] = (await json(`${url}/stats`)) as unknown as [
    number,
    { models: { name: string; samples: number; runs: number; stages: [{ batch: { why: string } }] }[] }
  ]
  const of = (name: string) => models.find((m) => m.name === name)
  expect(of('masked')?.stages[0].batch.why).toContain('are filled up to 8, 12, 16')
  expect(of('masked')?.runs).toBeLessThan(of('masked')?.samples as number)
  expect(of('unmasked')?.stages[0].batch.why).toContain('requests are not filled up: mask does not keep')
}, 30_000)

it('compresses replies where it is to', async () => {
  const path = join(folder, 'packed')
  writeKind('conv', join(path, 'conv.onnx'))
  const url = await start(path, { compress: true })
  const reply = await fetch(`${url}/stats`, { headers: { 'accept-encoding': 'gzip' } })
  expect(await reply.json()).toMatchObject({ server: { ready: true } })
})

it('serves TensorFlow Lite files, written as ONNX in memory, and refuses two files of one version', async () => {
  const model = parse(`opset 21
    input x: f32[1,6]
    a = Gemm(x, W: f32[6,5], B: f32[5])
    y = Relu(a)
    output y`)
  const at = join(folder, 'tflite', 'net', '2')
  mkdirSync(at, { recursive: true })
  writeFileSync(join(at, 'model.tflite'), writeModel(model, { format: 'tflite' }).bytes)
  const url = await start(join(folder, 'tflite'))
  const session = await nodeRunner().open(model)
  const x = floats([1, 6], 5)
  const { y } = await session.run({ x })
  await session.close()
  const { outputs } = await binary(`${url}/v2/models/net/versions/2/infer`, { x })
  expect(difference(new Map([['y', y as Tensor]]), outputs)).toBeLessThan(1e-6)
  writeFileSync(join(at, 'model.onnx'), writeModel(model).bytes)
  await expect(start(join(folder, 'tflite'))).rejects.toThrow('two files are version 2 of net')
})
