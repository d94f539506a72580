/** A seeded source of numbers, passed to whatever needs one. sfc32 by Chris Doty-Humphrey (PractRand). */
export interface Rng {
  /** Uniform in [0, 1). */
  next(): number
  /** Uniform integer in [0, n). */
  below(n: number): number
  /** Standard normal (Box–Muller). */
  normal(): number
  /** The numbers 0 … n−1 in a random order (Fisher–Yates). */
  permutation(n: number): number[]
  /** An independent stream, the same for the same label. */
  fork(label: string): Rng
}

/** Makes a generator; the same seed gives the same numbers on every machine. */
export function rng(seed: number | string): Rng {
  const text = String(seed)
  let [a, b, c, d] = [hash(text, 1), hash(text, 2), hash(text, 3), 1]
  const bits = (): number => {
    const t = (((a + b) | 0) + d) | 0
    d = (d + 1) | 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) | 0
    c = ((c << 21) | (c >>> 11)) + t
    return t >>> 0
  }
  for (let i = 0; i < 12; i++) bits()
  const next = (): number => ((bits() >>> 5) * 67108864 + (bits() >>> 6)) / 9007199254740992
  const below = (n: number): number => Math.floor(next() * n)
  return {
    next,
    below,
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
    permutation: (n) => {
      const order = Array.from({ length: n }, (_, i) => i)
      for (let i = n - 1; i > 0; i--) {
        const j = below(i + 1)
        const held = order[i] as number
        order[i] = order[j] as number
        order[j] = held
      }
      return order
    },
    fork: (label) => rng(`${text}/${label}`)
  }
}

/** FNV-1a over the text, started at a salt. */
function hash(text: string, salt: number): number {
  let h = 2166136261 ^ salt
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619)
  return h >>> 0
}
