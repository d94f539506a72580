import { describe, expect, it } from 'vitest'
import { joinShares, splitSecret } from './shamir.ts'
import { webCrypto } from './webcrypto.ts'

const { random } = webCrypto(globalThis.crypto.subtle)

describe('shares of a secret', () => {
  it.each([
    [1, 1],
    [2, 3],
    [7, 10],
    [67, 100],
    [128, 255]
  ])('%d of %d give it back, whichever they are, and fewer do not', (threshold, count) => {
    const secret = random(32)
    const shares = splitSecret(secret, threshold, count, random)
    for (let i = 0; i < 5; i++) {
      const chosen = [...shares].sort(() => Math.random() - 0.5).slice(0, Math.min(count, threshold + (i % 2)))
      expect([...joinShares(chosen)]).toEqual([...secret])
    }
    if (threshold > 1) expect([...joinShares(shares.slice(0, threshold - 1))]).not.toEqual([...secret])
  })

  it('tells nothing by fewer shares: every secret fits them', () => {
    const two = splitSecret(Uint8Array.of(77), 3, 5, random).slice(0, 2)
    const secrets = new Set<number>()
    for (let b = 0; b < 256; b++) secrets.add(joinShares([...two, { x: 3, bytes: Uint8Array.of(b) }])[0] as number)
    expect(secrets.size).toBe(256)
  })

  it('is the arithmetic of the field with x⁸ + x⁴ + x³ + x + 1', () => {
    // p(x) = 0x53 + 0xca x, and 0x53 · 0xca = 1 there: at x = 0x53 it is 0x53 ^ 1.
    const shares = splitSecret(Uint8Array.of(0x53), 2, 0x53, () => Uint8Array.of(0xca))
    expect(shares[0x52]?.bytes[0]).toBe(0x52)
  })

  it('refuses points that are equal or 0, and more shares than there are points', () => {
    const [share] = splitSecret(Uint8Array.of(1), 1, 2, random)
    if (!share) throw new Error('no share')
    expect(() => joinShares([share, share])).toThrow('not different')
    expect(() => joinShares([{ ...share, x: 0 }])).toThrow('not different')
    expect(() => joinShares([])).toThrow('not different')
    expect(() => splitSecret(Uint8Array.of(1), 2, 256, random)).toThrow('at most 255')
    expect(() => splitSecret(Uint8Array.of(1), 3, 2, random)).toThrow()
  })
})
