/** What a server of a federation refuses, each by its code, and that nothing of it reaches the model. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { concat } from '../src/base/bytes.ts'
import { PareError } from '../src/base/errors.ts'
import { fromHex, toHex } from '../src/base/hex.ts'
import { rng } from '../src/base/random.ts'
import { decodeMessage, type Local, openLocal, parseRecipe, takeTurn } from '../src/federate/index.ts'
import { invitationForm, readForm, roundForm } from '../src/federate/net/forms.ts'
import { requestsOf } from '../src/federate/net/http.ts'
import { checkReceipt, headers, signRequest } from '../src/federate/net/signing.ts'
import { writeSection } from '../src/federate/sections.ts'
import { secureCrypto, signerOf } from '../src/federate/secure/crypto.ts'
import type { SecureCrypto, Signer } from '../src/federate/secure/types.ts'
import { headerBytes } from '../src/federate/wire.ts'
import { readModel } from '../src/formats/read.ts'
import { readWhole, sha256Of } from '../src/node/federate/folder.ts'
import { nodeRunner } from '../src/node/runner.ts'
import { begin, dataOf, recipe } from './federation.ts'

type Begun = Awaited<ReturnType<typeof begin>>

let [crypto, begun, signer, local, good]: [SecureCrypto, Begun, Signer, Local, Uint8Array] = [] as never
let [run, organiser, place]: [Uint8Array, Uint8Array, string] = [] as never

const requests = (of: Signer) => requestsOf({ url: begun.server.url, run, crypto, signer: of, fetch })

/** Joins with an invitation. */
async function member(seed: number, invitation: number): Promise<Signer> {
  const made = await signerOf(crypto, new Uint8Array(32).fill(seed))
  const path = begun.server.invitations[invitation] as string
  const { token } = readForm(invitationForm, readWhole(path) as Uint8Array, 'it')
  await requests(made).request('POST', '/v1/join', new TextEncoder().encode(JSON.stringify({ token })))
  return made
}

beforeAll(async () => {
  crypto = await secureCrypto()
  begun = await begin({ server: { minClients: 2, deadline: 3600 } })
  const told = readForm(invitationForm, readWhole(begun.server.invitations[0] as string) as Uint8Array, 'it')
  run = fromHex(told.run)
  organiser = fromHex(told.organiser)
  signer = await member(1, 0)
  await member(2, 1)
  const open = readForm(roundForm, await requests(signer).request('GET', '/v1/round?after=-1'), 'it')
  if (open.state !== 'open') throw new Error(open.why)
  place = `/v1/update/${open.round}/${open.attempt}`
  const model = readModel(await requests(signer).request('GET', '/v1/model'))
  const parsed = parseRecipe(recipe)
  local = await openLocal(model, { options: parsed.local, engine: nodeRunner() })
  const message = await requests(signer).request('GET', `/v1/message/${open.base}`)
  good = (await takeTurn({ local, recipe: parsed, message, data: dataOf(0), seed: 1 })).message
})
afterAll(async () => {
  await local?.close()
  await begun?.server.close()
})

interface Answer {
  readonly status: number
  readonly code: string | undefined
}

/** A request as it is put together here, whatever is wrong with it. */
async function send(
  o: {
    readonly method?: string
    readonly path?: string
    readonly body?: Uint8Array
    readonly of?: Signer
    readonly time?: number
    readonly change?: (h: Record<string, string>) => Record<string, string>
    readonly sent?: Uint8Array
  } = {}
): Promise<Answer> {
  const { method = 'PUT', path = place, body = good, of = signer } = o
  const signed = await signRequest(crypto, of, { run, method, path }, body, o.time ?? Date.now())
  return raw(method, path, o.change?.(signed) ?? signed, o.sent ?? body)
}

async function raw(method: string, path: string, with_: Record<string, string>, body: Uint8Array): Promise<Answer> {
  const reply = await fetch(begun.server.url + path, {
    ...{ method, headers: { ...with_, 'content-type': 'application/octet-stream' } },
    ...(method === 'GET' ? {} : { body: body as Uint8Array<ArrayBuffer> })
  })
  const told = (await reply.json()) as { readonly code?: string }
  return { status: reply.status, code: told.code }
}

const hashed = (bytes: Uint8Array): Uint8Array => concat([bytes, fromHex(sha256Of(bytes)).subarray(0, 8)])

/** An update of floats, with the header of the good one. */
function floats(value: (i: number) => number): Uint8Array {
  const head = good.slice(0, headerBytes)
  head[6] = 0
  const bodies = local.manifest.parts.map((p) => {
    const section = writeSection(new Float32Array(p.size), { codec: 'float' }, undefined)
    const view = new DataView(section.buffer, section.byteOffset)
    for (let i = 0; i < p.size; i++) view.setFloat32(1 + 4 * i, value(p.offset + i), true)
    return section
  })
  return hashed(concat([head, ...bodies]))
}

describe('a server of a federation refuses', () => {
  it('what is not signed, signed by another, for something else, or changed on its way', async () => {
    const [unsigned, forged] = [
      { status: 401, code: 'E_SIGNATURE' },
      { status: 401, code: 'E_SIGNATURE' }
    ]
    expect(await raw('PUT', place, {}, good)).toEqual(unsigned)
    const stranger = await signerOf(crypto, new Uint8Array(32).fill(9))
    expect(await send({ of: stranger })).toEqual(forged)
    expect(await send({ change: (h) => ({ ...h, [headers.key]: toHex(stranger.key) }) })).toEqual(forged)
    expect(await send({ change: (h) => ({ ...h, [headers.nonce]: '0'.repeat(32) }) })).toEqual(forged)
    expect(await send({ change: (h) => ({ ...h, [headers.time]: 'now' }) })).toEqual(forged)
    expect(await send({ sent: good.map((b, i) => (i === 80 ? b ^ 1 : b)) })).toEqual(forged)
    const signed = await signRequest(crypto, signer, { run, method: 'PUT', path: '/v1/update/9/9' }, good, Date.now())
    expect(await raw('PUT', place, signed, good)).toEqual(forged)
  })

  it('what was made before, or long ago', async () => {
    const path = '/v1/run'
    const signed = await signRequest(crypto, signer, { run, method: 'GET', path }, new Uint8Array(0), Date.now())
    expect((await raw('GET', path, signed, good)).status).toBe(200)
    expect(await raw('GET', path, signed, good)).toEqual({ status: 401, code: 'E_REPLAY' })
    expect(await send({ time: Date.now() - 600_000 })).toEqual({ status: 401, code: 'E_REPLAY' })
    expect(await send({ time: Date.now() + 600_000 })).toEqual({ status: 401, code: 'E_REPLAY' })
  })

  it('what is cut short, too large, of another round, of another model, not finite or out of bounds', async () => {
    expect(await send({ body: good.subarray(0, 40) })).toEqual({ status: 400, code: 'E_FORMAT' })
    expect(await send({ body: good.subarray(0, good.length - 9) })).toEqual({ status: 400, code: 'E_FORMAT' })
    expect(await send({ body: new Uint8Array(2_000_000) })).toEqual({ status: 413, code: 'E_LIMIT' })
    expect(await send({ path: '/v1/update/0/7' })).toEqual({ status: 410, code: 'E_LATE' })
    expect(await send({ path: '/v1/update/5/0' })).toEqual({ status: 410, code: 'E_LATE' })
    expect(await send({ path: '/v1/update/x/0' })).toEqual({ status: 400, code: 'E_REQUEST' })
    const other = good.slice(0, -8)
    other[28] = (other[28] as number) ^ 1
    expect(await send({ body: hashed(other) })).toEqual({ status: 409, code: 'E_CONFLICT' })
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY])
      expect((await send({ body: floats((i) => (i === 77 ? bad : 0.01)) })).code).toMatch(/^E_(DATA|FORMAT)$/)
    expect(await send({ body: floats((i) => (i === 77 ? 1e5 : 0.01)) })).toEqual({ status: 400, code: 'E_DATA' })
  })

  it('an invitation that another has used, and one that is none', async () => {
    await expect(member(3, 0)).rejects.toMatchObject({ code: 'E_CONFLICT' })
    const body = new TextEncoder().encode(JSON.stringify({ token: '0'.repeat(32) }))
    expect(await send({ method: 'POST', path: '/v1/join', body })).toEqual({ status: 401, code: 'E_SIGNATURE' })
    const code = new TextEncoder().encode('{"token":1}')
    expect(await send({ method: 'POST', path: '/v1/join', body: code })).toEqual({ status: 400, code: 'E_MESSAGE' })
  })

  const mutations = Number(process.env['PARE_MUTATIONS'] ?? 3000)
  it(`${mutations} mutated updates, 300 of them over HTTP, in bounded memory`, async () => {
    const random = rng('mutations')
    const before = process.memoryUsage().rss
    const { header } = await decodeMessage(good, { manifest: local.manifest, kind: 'update' })
    const expected = { manifest: local.manifest, kind: 'update' as const, run, round: 0, base: header.base }
    let refused = 0
    for (let i = 0; i < mutations; i++) {
      const body = mutated(good, random, random.below(5))
      await decodeMessage(body, expected).then(
        ({ values }) => expect(values.length).toBe(local.manifest.size),
        (thrown) => {
          expect(thrown).toBeInstanceOf(PareError)
          expect(thrown.code).not.toBe('E_INTERNAL')
          refused++
        }
      )
    }
    expect(refused).toBeGreaterThan(mutations / 2)
    for (let i = 0; i < 300; i++) {
      const { code, status } = await send({ body: mutated(good, random, i % 3) })
      expect(status, code).toBeLessThan(500)
      expect(code).toMatch(/^E_(FORMAT|CONFLICT|UNSUPPORTED)$/)
    }
    expect(begun.server.shown().told.open?.accepted.size).toBe(0)
    expect(process.memoryUsage().rss - before).toBeLessThan(400e6)
  }, 1_200_000)

  it('a second update that differs; the same again gets the same receipt', async () => {
    const first = await requests(signer).request('PUT', place, good)
    const again = await requests(signer).request('PUT', place, good)
    expect(toHex(again)).toBe(toHex(first))
    const receipt = JSON.parse(new TextDecoder().decode(first)) as never
    const expected = { round: 0, attempt: 0, key: toHex(signer.key), sha256: sha256Of(good) }
    await checkReceipt(crypto, organiser, run, expected, receipt)
    await expect(checkReceipt(crypto, organiser, run, { ...expected, round: 1 }, receipt)).rejects.toThrow('not signed')
    expect(await send({ body: floats(() => 0.01) })).toEqual({ status: 409, code: 'E_CONFLICT' })
    expect(begun.server.shown().told.open?.accepted.size).toBe(1)
  })
})

/** Cut short, doubled, or with other bytes; from kind 3 on with a hash that fits, so that what is behind it is looked at. */
function mutated(bytes: Uint8Array, random: ReturnType<typeof rng>, kind: number): Uint8Array {
  if (kind === 0) return bytes.slice(0, random.below(bytes.length))
  if (kind === 1) return concat([bytes, bytes])
  const out = bytes.slice()
  const [from, to] = kind === 3 ? [0, headerBytes] : [0, out.length - 8]
  for (let k = 0; k <= random.below(4); k++) {
    const at = from + random.below(to - from)
    out[at] = (out[at] as number) ^ (1 + random.below(255))
  }
  return kind === 2 ? out : hashed(out.subarray(0, -8))
}
