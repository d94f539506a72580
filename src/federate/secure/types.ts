/**
 * The cryptography that secure sums and signed messages need, behind one interface with two implementations that give the
 * same bytes: the platform's (WebCrypto) and the @noble packages, for platforms that lack the curves.
 *
 * X25519 (RFC 7748), Ed25519 (RFC 8032), HKDF-SHA-256 (RFC 5869), AES-256-GCM (SP 800-38D), AES-256-CTR (RFC 3686).
 */

/** Keys, seeds and signatures are raw bytes: 32, 32 and 64. */
export interface Curves {
  /** Public key of an X25519 secret. */
  agreementKey(secret: Uint8Array): Promise<Uint8Array>
  /** What two secrets have in common. Throws `E_SIGNATURE` for public keys that make it zero. */
  agree(secret: Uint8Array, theirs: Uint8Array): Promise<Uint8Array>
  /** Public key of an Ed25519 seed. */
  signingKey(seed: Uint8Array): Promise<Uint8Array>
  sign(seed: Uint8Array, message: Uint8Array): Promise<Uint8Array>
  verify(key: Uint8Array, message: Uint8Array, signature: Uint8Array): Promise<boolean>
}

export interface Ciphers {
  /** Bytes that cannot be guessed. */
  random(count: number): Uint8Array
  sha256(bytes: Uint8Array): Promise<Uint8Array>
  /** HKDF-SHA-256. */
  derive(secret: Uint8Array, salt: Uint8Array, info: Uint8Array, count: number): Promise<Uint8Array>
  /** AES-256-GCM; the nonce has 12 bytes, and the result 16 more than the text. */
  seal(key: Uint8Array, nonce: Uint8Array, known: Uint8Array, text: Uint8Array): Promise<Uint8Array>
  /** Throws `E_SIGNATURE` for anything but what was sealed. */
  open(key: Uint8Array, nonce: Uint8Array, known: Uint8Array, sealed: Uint8Array): Promise<Uint8Array>
  /** Bytes of the AES-256-CTR key stream from a block of 16 on, counted from 0; the nonce is 0, as a key is used once. */
  keyStream(key: Uint8Array, firstBlock: number, count: number): Promise<Uint8Array>
}

export interface SecureCrypto extends Curves, Ciphers {
  readonly name: string
}

/** Signs with a key that need not be readable, such as one that a browser keeps. */
export interface Signer {
  readonly key: Uint8Array
  sign(message: Uint8Array): Promise<Uint8Array>
}
