/** Cryptography of the platform. */
import { PareError } from '../../base/errors.ts'
import type { SecureCrypto } from './types.ts'

type Bytes = Uint8Array<ArrayBuffer>

/** What stands before the 32 bytes of a secret key in PKCS #8 (RFC 8410), by curve. */
const pkcs8 = (last: number): readonly number[] => [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, last, 4, 34, 4, 32]
const prefixes = { X25519: pkcs8(0x6e), Ed25519: pkcs8(0x70) } as const

const fresh = (bytes: Uint8Array): Bytes => bytes as Bytes

const secretKey = (subtle: SubtleCrypto, curve: 'X25519' | 'Ed25519', secret: Uint8Array): Promise<CryptoKey> =>
  subtle.importKey(
    'pkcs8',
    Uint8Array.from([...prefixes[curve], ...secret]),
    { name: curve },
    true,
    curve === 'X25519' ? ['deriveBits'] : ['sign']
  )

/**
 * Keys by the arrays that hold the secrets: a secret is imported once, which costs as much as using it, and its key goes when the array
 * does.
 */
function keysOf(subtle: SubtleCrypto, curve: 'X25519' | 'Ed25519'): (secret: Uint8Array) => Promise<CryptoKey> {
  const known = new WeakMap<Uint8Array, Promise<CryptoKey>>()
  return (secret) => {
    const key = known.get(secret) ?? secretKey(subtle, curve, secret)
    known.set(secret, key)
    return key
  }
}

async function publicOf(subtle: SubtleCrypto, key: Promise<CryptoKey>): Promise<Uint8Array> {
  const { x = '' } = await subtle.exportKey('jwk', await key)
  return Uint8Array.from(atob(x.replaceAll('-', '+').replaceAll('_', '/')), (c) => c.charCodeAt(0))
}

/** Does the platform have both curves? */
export async function curvesOf(subtle: SubtleCrypto): Promise<boolean> {
  try {
    await Promise.all([
      secretKey(subtle, 'X25519', new Uint8Array(32)),
      secretKey(subtle, 'Ed25519', new Uint8Array(32))
    ])
    return true
  } catch {
    return false
  }
}

const counterAt = (block: number): Bytes => {
  const counter = new Uint8Array(16)
  new DataView(counter.buffer).setBigUint64(8, BigInt(block))
  return counter
}

export function webCrypto(subtle: SubtleCrypto): SecureCrypto {
  const aes = (name: string, key: Uint8Array): Promise<CryptoKey> =>
    subtle.importKey('raw', fresh(key), name, false, ['encrypt', 'decrypt'])
  const [agreeing, signing] = [keysOf(subtle, 'X25519'), keysOf(subtle, 'Ed25519')]
  return {
    name: 'WebCrypto',
    random: (count) => {
      const out = new Uint8Array(count)
      for (let from = 0; from < count; from += 65536)
        globalThis.crypto.getRandomValues(out.subarray(from, from + 65536))
      return out
    },
    sha256: async (bytes) => new Uint8Array(await subtle.digest('SHA-256', fresh(bytes))),
    derive: async (secret, salt, info, count) => {
      const key = await subtle.importKey('raw', fresh(secret), 'HKDF', false, ['deriveBits'])
      const how = { name: 'HKDF', hash: 'SHA-256', salt: fresh(salt), info: fresh(info) }
      return new Uint8Array(await subtle.deriveBits(how, key, count * 8))
    },
    seal: async (key, iv, known, text) => {
      const how = { name: 'AES-GCM', iv: fresh(iv), additionalData: fresh(known) }
      return new Uint8Array(await subtle.encrypt(how, await aes('AES-GCM', key), fresh(text)))
    },
    open: async (key, iv, known, sealed) => {
      const how = { name: 'AES-GCM', iv: fresh(iv), additionalData: fresh(known) }
      try {
        return new Uint8Array(await subtle.decrypt(how, await aes('AES-GCM', key), fresh(sealed)))
      } catch (cause) {
        throw notSealed(cause)
      }
    },
    keyStream: async (key, firstBlock, count) => {
      const how = { name: 'AES-CTR', counter: counterAt(firstBlock), length: 64 }
      return new Uint8Array(await subtle.encrypt(how, await aes('AES-CTR', key), new Uint8Array(count)))
    },
    agreementKey: (secret) => publicOf(subtle, agreeing(secret)),
    agree: async (secret, theirs) => {
      try {
        const key = await subtle.importKey('raw', fresh(theirs), { name: 'X25519' }, false, [])
        const how = { name: 'X25519', public: key }
        return notZero(new Uint8Array(await subtle.deriveBits(how, await agreeing(secret), 256)))
      } catch (cause) {
        throw noAgreement(cause)
      }
    },
    signingKey: (seed) => publicOf(subtle, signing(seed)),
    sign: async (seed, message) => new Uint8Array(await subtle.sign('Ed25519', await signing(seed), fresh(message))),
    verify: async (key, message, signature) => {
      try {
        const theirs = await subtle.importKey('raw', fresh(key), { name: 'Ed25519' }, false, ['verify'])
        return await subtle.verify('Ed25519', theirs, fresh(signature), fresh(message))
      } catch {
        return false
      }
    }
  }
}

/** The secret itself; throws where it is zero, which it is for keys that hide nothing. */
export function notZero(secret: Uint8Array): Uint8Array {
  if (secret.some((b) => b !== 0)) return secret
  throw new Error('the shared secret is zero')
}

export const noAgreement = (cause: unknown): PareError =>
  new PareError('E_SIGNATURE', 'a public key of another client is no key to agree with', { cause })

export const notSealed = (cause: unknown): PareError =>
  new PareError('E_SIGNATURE', 'a sealed message was changed, or is not for this client', { cause })
