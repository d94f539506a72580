/** From a stream of sound to the words in it: features, a network over the last second, a rule that calls a word. */
import { bands, frameLength, frames, hop, logMelStream, sampleRate } from './features.mjs'
import { keywords } from './words.mjs'

/** Frames from one look at the last second to the next: 80 ms. */
export const step = 4
/** Seconds for which a word must have been below the threshold before it is called again. */
const rest = 0.5

/** The end of a look in seconds of the stream. */
export const timeOf = (look) => ((frames - 1 + look * step) * hop + frameLength) / sampleRate

/** Class scores as shares that sum to 1. */
export function softmax(logits) {
  const most = Math.max(...logits)
  const powers = Array.from(logits, (x) => Math.exp(x - most))
  const sum = powers.reduce((a, b) => a + b)
  return powers.map((p) => p / sum)
}

/** Given the shares of each look in turn: the keyword of the highest share, averaged over so many looks, and that share. */
export function averager(looks) {
  const recent = []
  return (shares) => {
    recent.push(shares)
    if (recent.length > looks) recent.shift()
    const scores = keywords.map((_, k) => recent.reduce((sum, s) => sum + s[k], 0) / looks)
    const score = Math.max(...scores)
    return { word: scores.indexOf(score), score }
  }
}

/** Given the keyword of each look and its score in turn: the call `{ time, word, score }` of a look, or nothing. */
export function latch(threshold) {
  const lastAbove = keywords.map(() => -Infinity)
  let look = 0
  return ({ word, score }) => {
    const time = timeOf(look++)
    if (score < threshold) return undefined
    const isNew = time - lastAbove[word] > rest
    lastAbove[word] = time
    return isNew ? { time, word, score } : undefined
  }
}

/** The rule: given the shares of each look in turn, the call that it makes, or nothing. */
export function caller({ threshold, looks }) {
  const [average, call] = [averager(looks), latch(threshold)]
  return (shares) => call(average(shares))
}

/** Listens with an open model: each call takes the samples that came in and returns the calls they lead to. */
export function listener(session, rule) {
  const features = logMelStream()
  const call = caller(rule)
  const second = new Float32Array(frames * bands)
  let seen = 0
  return async (samples) => {
    const calls = []
    const fresh = features(samples)
    for (let at = 0; at < fresh.length; at += bands) {
      second.copyWithin(0, bands)
      second.set(fresh.subarray(at, at + bands), second.length - bands)
      seen++
      if (seen < frames || (seen - frames) % step !== 0) continue
      const [shares] = await sharesOf(session, second, 1)
      const made = call(shares)
      if (made) calls.push(made)
    }
    return calls
  }
}

/** The shares of `count` seconds of features. */
export async function sharesOf(session, features, count) {
  const bytes = new Uint8Array(features.buffer, features.byteOffset, features.byteLength)
  const { logits } = await session.run({ features: { dtype: 'float32', shape: [count, 1, frames, bands], bytes } })
  const raw = logits.bytes.slice()
  const scores = new Float32Array(raw.buffer, raw.byteOffset, raw.byteLength / 4)
  const classes = scores.length / count
  return Array.from({ length: count }, (_, i) => softmax(scores.subarray(i * classes, (i + 1) * classes)))
}
