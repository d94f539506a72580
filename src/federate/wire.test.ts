import { expect, test } from 'vitest'
import { rng } from '../base/random.ts'
import { bitReader, bitWriter } from './bits.ts'
import { layOut, manifestHash, sha256 } from './manifest.ts'
import { mostBytes } from './sections.ts'
import { mostRice, riceFor } from './sparse.ts'
import type { Codec, Header, Manifest } from './types.ts'
import { decodeMessage, encodeMessage, headerBytes, readHeader, trailerBytes } from './wire.ts'

const manifest = layOut([
  { name: 'w', shape: [40, 30], role: 'weight' },
  { name: 'b', shape: [30], role: 'weight' },
  { name: 'mean', shape: [7], role: 'statistic' },
  { name: 'none', shape: [0], role: 'weight' }
])
const normals = (n: number, seed: string): Float32Array => {
  const random = rng(seed)
  return Float32Array.from({ length: n }, () => random.normal())
}
const values = normals(manifest.size, 'values')
const header = async (kind: Header['kind'], m: Manifest = manifest): Promise<Header> => ({
  kind,
  run: new Uint8Array(16).fill(3),
  round: 7,
  base: await manifestHash(m),
  nonce: new Uint8Array(8).fill(9),
  weight: kind === 'model' ? 0 : 600
})
const codecs: readonly Codec[] = [
  { codec: 'float' },
  { codec: 'quantize', bits: 8 },
  { codec: 'quantize', bits: 4, group: 10 },
  { codec: 'quantize', bits: 2, random: false },
  { codec: 'top-k', share: 0.1 },
  { codec: 'stc', share: 0.05 }
]
const part = (name: string) => manifest.parts.find((p) => p.name === name) as Manifest['parts'][number]
const cut = (v: Float32Array, name: string): Float32Array =>
  v.subarray(part(name).offset, part(name).offset + part(name).size)

test.each(codecs)('an update comes back as $codec codes it: %j', async (codec) => {
  const message = await encodeMessage({
    ...{ header: await header('update'), manifest, values, codec },
    random: rng('rounding')
  })
  const read = await decodeMessage(message, { manifest, kind: 'update', round: 7 })
  expect(read.header).toEqual(await header('update'))
  // Statistics are sent as they are, whatever the codec.
  expect(cut(read.values, 'mean')).toEqual(cut(values, 'mean'))
  const [sent, got] = [cut(values, 'w'), cut(read.values, 'w')]
  if (codec.codec === 'float') expect(got).toEqual(sent)
  if (codec.codec === 'quantize') {
    const level = 2 ** (codec.bits - 1) - 1
    const group = codec.group ?? (codec.bits <= 4 ? 64 : 256)
    got.forEach((x, i) => {
      const from = i - (i % group)
      const scale = Math.max(...sent.subarray(from, from + group).map(Math.abs)) / level
      const most = (codec.random === false ? 0.505 : 1.01) * scale
      expect(Math.abs(x - (sent[i] as number))).toBeLessThanOrEqual(most)
    })
  }
  if (codec.codec === 'top-k' || codec.codec === 'stc') {
    const k = Math.ceil(codec.share * sent.length)
    const least = [...sent].map(Math.abs).sort((a, b) => b - a)[k - 1] as number
    expect([...got].filter((x) => x !== 0)).toHaveLength(k)
    got.forEach((x, i) => {
      expect(x !== 0).toBe(Math.abs(sent[i] as number) >= least)
      expect(Math.sign(x)).toBe(x === 0 ? 0 : Math.sign(sent[i] as number))
    })
  }
  if (codec.codec === 'stc') expect(new Set([...got].map(Math.abs)).size).toBe(2)
})

test('rounding at random keeps the mean', async () => {
  const codec: Codec = { codec: 'quantize', bits: 2 }
  const sum = new Float64Array(manifest.size)
  const draws = 300
  for (let i = 0; i < draws; i++) {
    const random = rng(i)
    const message = await encodeMessage({ header: await header('update'), manifest, values, codec, random })
    const read = await decodeMessage(message, { manifest, kind: 'update' })
    read.values.forEach((x, n) => {
      sum[n] = (sum[n] as number) + x
    })
  }
  const most = Math.max(...cut(values, 'w').map(Math.abs))
  cut(values, 'w').forEach((x, i) => {
    // Of 300 draws between 0 and the scale, five standard errors.
    expect(Math.abs((sum[part('w').offset + i] as number) / draws - x)).toBeLessThan((5 * most) / 2 / Math.sqrt(draws))
  })
})

test('bits of every length come back', () => {
  for (let n = 0; n < 5000; n += n < 600 ? 1 : 37) {
    const out = bitWriter()
    for (let i = 0; i < n; i++) out.write(i & 7, 3)
    const bytes = out.bytes()
    expect(bytes).toHaveLength(Math.ceil((3 * n) / 8))
    const bits = bitReader(bytes)
    for (let i = 0; i < n; i++) if (bits.read(3) !== (i & 7)) throw new Error(`bit group ${i} of ${n}`)
    expect(bits.end()).toBe(bytes.length)
  }
})

test('bits come back at every length around those at which the writer takes more memory', () => {
  for (const full of [256, 512, 1024, 2048, 4096])
    for (let n = 8 * full - 9; n <= 8 * full + 9; n++) {
      const out = bitWriter()
      for (let i = 0; i < n; i++) out.write(1, 1)
      expect(out.bytes()).toHaveLength(Math.ceil(n / 8))
      const bits = bitReader(out.bytes())
      for (let i = 0; i < n; i++) if (bits.read(1) !== 1) throw new Error(`bit ${i} of ${n}`)
      expect(bits.end()).toBe(Math.ceil(n / 8))
    }
})

test('ternary updates of the size of LeNet come back, whatever their length', async () => {
  // The large layer's positions and signs take 2037 bytes in the mean, some 6 of which vary: many of these lengths are near 2048.
  const two = layOut([
    { name: 'a', shape: [48_300], role: 'weight' },
    { name: 'b', shape: [120], role: 'weight' }
  ])
  for (let seed = 0; seed < 30; seed++) {
    const message = await encodeMessage({
      ...{ header: await header('update', two), manifest: two, values: normals(two.size, `lenet ${seed}`) },
      codec: { codec: 'stc', share: 0.05 }
    })
    const read = await decodeMessage(message, { manifest: two, kind: 'update' })
    expect(read.values.filter((x) => x !== 0)).toHaveLength(2415 + 6)
  }
})

test('the parameter of positions is one that the reader takes, however far apart they are', () => {
  expect(riceFor(Uint32Array.of(3), 2 ** 26)).toBeLessThanOrEqual(mostRice)
})

test('ternary updates of a twentieth take about .34 bits a number', async () => {
  const large = layOut([{ name: 'w', shape: [50_000], role: 'weight' }])
  const message = await encodeMessage({
    ...{ header: await header('update', large), manifest: large, values: normals(50_000, 'x') },
    codec: { codec: 'stc', share: 0.05 }
  })
  const bits = (8 * (message.length - headerBytes - trailerBytes)) / 50_000
  // 6.79 bits for each of the positions, by the formula in sparse.ts.
  expect(bits).toBeGreaterThan(0.334)
  expect(bits).toBeLessThan(0.342)
})

test('a model message says where the model may differ from zero, and where updates hold numbers', async () => {
  const random = rng('support')
  const support = Uint8Array.from({ length: manifest.size }, () => (random.next() < 0.3 ? 1 : 0))
  const mask = support.map((s) => (s === 1 && random.next() < 0.5 ? 1 : 0))
  const sparse = values.map((x, i) => (support[i] === 1 ? x : 0))
  const statistic = part('mean')
  sparse.set(cut(values, 'mean'), statistic.offset)
  const codec: Codec = { codec: 'float' }
  const down = await encodeMessage({ header: await header('model'), manifest, values: sparse, codec, support, mask })
  const read = await decodeMessage(down, { manifest, kind: 'model' })
  expect(read.values).toEqual(sparse)
  expect(read.support).toEqual(support)
  expect(read.mask).toEqual(mask)
  const up = await encodeMessage({ header: await header('update'), manifest, values, codec, mask })
  const update = await decodeMessage(up, { manifest, kind: 'update', mask })
  expect(update.values).toEqual(
    values.map((x, i) => (mask[i] === 1 || (i >= statistic.offset && i < statistic.offset + statistic.size) ? x : 0))
  )
})

test('what is not finite is not sent', async () => {
  const bad = values.map((x, i) => (i === 5 ? Number.NaN : x))
  await expect(
    encodeMessage({ header: await header('update'), manifest, values: bad, codec: { codec: 'float' } })
  ).rejects.toMatchObject({ code: 'E_DATA' })
})

test('messages of another run, round or base are refused', async () => {
  const message = await encodeMessage({
    ...{ header: await header('update'), manifest, values, codec: { codec: 'float' } as Codec }
  })
  const read = (o: object) => decodeMessage(message, { manifest, kind: 'update', ...o })
  await expect(read({ kind: 'model' })).rejects.toMatchObject({ code: 'E_FORMAT' })
  await expect(read({ run: new Uint8Array(16) })).rejects.toMatchObject({ code: 'E_FORMAT' })
  await expect(read({ round: 8 })).rejects.toMatchObject({ code: 'E_FORMAT' })
  await expect(read({ base: new Uint8Array(32) })).rejects.toMatchObject({ code: 'E_FORMAT' })
})

/** Bytes as a hostile client would send them, with a hash that fits. */
async function mutated(message: Uint8Array, random: ReturnType<typeof rng>): Promise<Uint8Array> {
  const body = message.slice(0, message.length - trailerBytes)
  const kind = random.below(4)
  if (kind === 0) return message.slice(0, random.below(message.length))
  const changes = 1 + random.below(4)
  for (let i = 0; i < changes; i++) {
    const from = random.next() < 0.2 ? 0 : headerBytes
    body[from + random.below(body.length - from)] = random.below(256)
  }
  const longer = kind === 1 ? Uint8Array.from([...body, random.below(256)]) : body
  return Uint8Array.from([...longer, ...(await sha256(longer)).subarray(0, trailerBytes)])
}

test('20,000 mutated messages are read or refused, within the memory of the manifest', async () => {
  const random = rng('mutations')
  const small = layOut([
    { name: 'a', shape: [8, 9], role: 'weight' },
    { name: 'b', shape: [3], role: 'statistic' }
  ])
  const plain = normals(small.size, 'small')
  const counts = { read: 0, refused: 0 }
  const messages: Uint8Array[] = []
  for (const codec of codecs)
    messages.push(await encodeMessage({ header: await header('update', small), manifest: small, values: plain, codec }))
  const zeros = new Float32Array(small.size)
  const codec: Codec = { codec: 'quantize', bits: 4, random: false }
  messages.push(await encodeMessage({ header: await header('update', small), manifest: small, values: zeros, codec }))
  for (let i = 0; i < 20_000; i++) {
    const bytes = await mutated(messages[i % messages.length] as Uint8Array, random)
    try {
      const { values: got } = await decodeMessage(bytes, { manifest: small, kind: 'update' })
      expect(got).toHaveLength(small.size)
      expect(got.every(Number.isFinite)).toBe(true)
      counts.read++
    } catch (e) {
      expect(['E_FORMAT', 'E_UNSUPPORTED']).toContain((e as { code?: string }).code)
      counts.refused++
    }
  }
  expect(counts.read).toBeGreaterThan(500)
  expect(counts.refused).toBeGreaterThan(5000)
}, 240_000)

test('a body that claims to be larger than any of its manifest is refused before it is inflated', async () => {
  const zeros = new Float32Array(manifest.size)
  const message = await encodeMessage({
    ...{ header: await header('update'), manifest, values: zeros, codec: { codec: 'float' } as Codec }
  })
  expect(readHeader(message).flags).toBe(1)
  const most = manifest.parts.reduce((n, p) => n + mostBytes(p.size), 0)
  const claim = message.slice()
  // The varint behind the header: more than every codec could take.
  claim.set([255, 255, 255, 127], headerBytes)
  expect(most).toBeLessThan(2 ** 28 - 1)
  const body = claim.subarray(0, claim.length - trailerBytes)
  const forged = Uint8Array.from([...body, ...(await sha256(body)).subarray(0, trailerBytes)])
  await expect(decodeMessage(forged, { manifest, kind: 'update' })).rejects.toMatchObject({ code: 'E_FORMAT' })
})
