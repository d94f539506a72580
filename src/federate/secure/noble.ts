/** The same cryptography in plain JavaScript, for platforms without it: an old browser, or a page without TLS. */
import { ctr, gcm } from '@noble/ciphers/aes'
import { ed25519, x25519 } from '@noble/curves/ed25519'
import { hkdf } from '@noble/hashes/hkdf'
import { sha256 } from '@noble/hashes/sha2'
import type { Ciphers, Curves, SecureCrypto } from './types.ts'
import { noAgreement, notSealed, notZero } from './webcrypto.ts'

const tried = <T>(run: () => T, failed: (cause: unknown) => Error): T => {
  try {
    return run()
  } catch (cause) {
    throw failed(cause)
  }
}

export const nobleCurves: Curves = {
  agreementKey: async (secret) => x25519.getPublicKey(secret),
  agree: async (secret, theirs) => tried(() => notZero(x25519.getSharedSecret(secret, theirs)), noAgreement),
  signingKey: async (seed) => ed25519.getPublicKey(seed),
  sign: async (seed, message) => ed25519.sign(message, seed),
  verify: async (key, message, signature) => {
    try {
      return ed25519.verify(signature, message, key, { zip215: false })
    } catch {
      return false
    }
  }
}

const ciphers: Ciphers = {
  random: (count) => {
    const out = new Uint8Array(count)
    for (let from = 0; from < count; from += 65536) globalThis.crypto.getRandomValues(out.subarray(from, from + 65536))
    return out
  },
  sha256: async (bytes) => sha256(bytes),
  derive: async (secret, salt, info, count) => hkdf(sha256, secret, salt, info, count),
  seal: async (key, nonce, known, text) => gcm(key, nonce, known).encrypt(text),
  open: async (key, nonce, known, sealed) => tried(() => gcm(key, nonce, known).decrypt(sealed), notSealed),
  keyStream: async (key, firstBlock, count) => {
    const counter = new Uint8Array(16)
    new DataView(counter.buffer).setBigUint64(8, BigInt(firstBlock))
    return ctr(key, counter).encrypt(new Uint8Array(count))
  }
}

export const nobleCrypto: SecureCrypto = { name: '@noble', ...ciphers, ...nobleCurves }
