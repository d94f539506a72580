/** Both implementations against the vectors of the standards, and against each other. */
import { describe, expect, it } from 'vitest'
import { secureCrypto, signerOf } from './crypto.ts'
import { nobleCrypto } from './noble.ts'
import { webCrypto } from './webcrypto.ts'

const bytes = (hex: string): Uint8Array => Uint8Array.from(hex.match(/../g) ?? [], (b) => Number.parseInt(b, 16))
const hex = (told: Uint8Array): string => [...told].map((b) => b.toString(16).padStart(2, '0')).join('')
const zeros = (count: number): Uint8Array => new Uint8Array(count)

const web = webCrypto(globalThis.crypto.subtle)

/** RFC 7748, section 6.1. */
const alice = {
  secret: bytes('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a'),
  key: '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a'
}
const bob = {
  secret: bytes('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb'),
  key: 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f'
}

/** RFC 8032, section 7.1, test 1. */
const signing = {
  seed: bytes('9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60'),
  key: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
  ofNothing:
    'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b'
}

describe.each([web, nobleCrypto])('$name', (crypto) => {
  it('agrees as in RFC 7748', async () => {
    expect(hex(await crypto.agreementKey(alice.secret))).toBe(alice.key)
    expect(hex(await crypto.agreementKey(bob.secret))).toBe(bob.key)
    const shared = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742'
    expect(hex(await crypto.agree(alice.secret, bytes(bob.key)))).toBe(shared)
    expect(hex(await crypto.agree(bob.secret, bytes(alice.key)))).toBe(shared)
  })

  it('refuses a key of another that makes what is shared zero, or is none', async () => {
    await expect(crypto.agree(alice.secret, zeros(32))).rejects.toThrow('no key to agree with')
    await expect(crypto.agree(alice.secret, zeros(31))).rejects.toThrow('no key to agree with')
  })

  it('signs as in RFC 8032, and knows what was not signed', async () => {
    const key = await crypto.signingKey(signing.seed)
    expect(hex(key)).toBe(signing.key)
    const signature = await crypto.sign(signing.seed, zeros(0))
    expect(hex(signature)).toBe(signing.ofNothing)
    expect(await crypto.verify(key, zeros(0), signature)).toBe(true)
    expect(await crypto.verify(key, zeros(1), signature)).toBe(false)
    expect(await crypto.verify(key, zeros(0), signature.subarray(1))).toBe(false)
    expect(await crypto.verify(zeros(31), zeros(0), signature)).toBe(false)
  })

  it('derives as in RFC 5869, test 1', async () => {
    const made = await crypto.derive(
      new Uint8Array(22).fill(11),
      bytes('000102030405060708090a0b0c'),
      bytes('f0f1f2f3f4f5f6f7f8f9'),
      42
    )
    expect(hex(made)).toBe('3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865')
  })

  it('seals as in the specification of GCM, test 16, and opens nothing that was changed', async () => {
    const key = bytes('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308')
    const nonce = bytes('cafebabefacedbaddecaf888')
    const known = bytes('feedfacedeadbeeffeedfacedeadbeefabaddad2')
    const text = bytes(
      'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39'
    )
    const sealed = await crypto.seal(key, nonce, known, text)
    expect(hex(sealed)).toBe(
      '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b'
    )
    expect(hex(await crypto.open(key, nonce, known, sealed))).toBe(hex(text))
    for (const changed of [sealed.map((b, i) => (i === 5 ? b ^ 1 : b)), sealed.subarray(1), zeros(3)])
      await expect(crypto.open(key, nonce, known, changed)).rejects.toThrow('was changed')
    await expect(crypto.open(key, nonce, zeros(0), sealed)).rejects.toThrow('was changed')
  })

  it('makes the stream of AES-256 in counter mode: blocks of the zero key that tests 13 and 14 of GCM tell', async () => {
    const stream = await crypto.keyStream(zeros(32), 0, 48)
    expect(hex(stream)).toBe(
      'dc95c078a2408989ad48a21492842087530f8afbc74536b9a963b4f1c4cb738bcea7403d4d606b6e074ec5d3baf39d18'
    )
    expect(hex(await crypto.keyStream(zeros(32), 1, 17))).toBe(hex(stream.subarray(16, 33)))
  })

  it('draws bytes that differ', () => {
    expect(hex(crypto.random(32))).not.toBe(hex(crypto.random(32)))
    const many = crypto.random(200_000)
    expect(new Set(many).size).toBe(256)
    expect(many.subarray(-64).some((b) => b !== 0)).toBe(true)
  })
})

describe('both implementations', () => {
  it('give the same bytes for everything', async () => {
    for (let i = 0; i < 20; i++) {
      const [a, b, c] = [web.random(32), web.random(32), web.random(100 + i)]
      const all = [web, nobleCrypto].map(async (crypto) => {
        const key = await crypto.agreementKey(b)
        const sealed = await crypto.seal(a, c.subarray(0, 12), b, c)
        return [
          await crypto.agree(a, key),
          await crypto.sign(a, c),
          await crypto.derive(a, b, c, 77),
          sealed,
          await crypto.open(a, c.subarray(0, 12), b, sealed),
          await crypto.keyStream(a, 3 * i, 1000 + i),
          await crypto.sha256(c)
        ].map(hex)
      })
      const [first, second] = await Promise.all(all)
      expect(first).toEqual(second)
    }
  })

  it('takes the platform where it has the curves', async () => {
    expect((await secureCrypto()).name).toBe('WebCrypto')
    expect(hex((await signerOf(nobleCrypto, signing.seed)).key)).toBe(signing.key)
  })
})
