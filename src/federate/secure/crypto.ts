/** Which implementation of the cryptography a platform gets. */
import type { Curves, SecureCrypto, Signer } from './types.ts'
import { curvesOf, webCrypto } from './webcrypto.ts'

/** What the platform has, and of the @noble packages what it lacks. */
export async function secureCrypto(): Promise<SecureCrypto> {
  const subtle = globalThis.crypto?.subtle
  if (!subtle) return (await import('./noble.ts')).nobleCrypto
  const web = webCrypto(subtle)
  if (await curvesOf(subtle)) return web
  const { nobleCurves } = await import('./noble.ts')
  return { ...web, ...nobleCurves, name: 'WebCrypto with curves of @noble' }
}

/** The signer of an Ed25519 seed. */
export const signerOf = async (crypto: Curves, seed: Uint8Array): Promise<Signer> => ({
  key: await crypto.signingKey(seed),
  sign: (message) => crypto.sign(seed, message)
})
