/** How well a model finds the wake word in a long stream, and how long a call takes. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { caller, listener, sharesOf, step } from './detect.mjs'
import { bands, frames, hop, logMel, sampleRate } from './features.mjs'
import { readWave } from './wave.mjs'

/** Seconds after the end of a word in which a call counts for it. */
const grace = 0.75

/** A stream as `prepared` left it: its sound, features, what was said when, hours. */
export function opened(folder, part) {
  const { samples } = readWave(readFileSync(join(folder, `${part}.wav`)))
  const said = JSON.parse(readFileSync(join(folder, `${part}.json`), 'utf8'))
  return { samples, said, features: logMel(samples), hours: samples.length / sampleRate / 3600 }
}

/** The shares of every look at a stream. */
export async function looks(session, features) {
  const size = frames * bands
  const count = 1 + Math.floor((features.length - size) / (step * bands))
  const shares = []
  for (let from = 0; from < count; from += 256) {
    const n = Math.min(256, count - from)
    const batch = new Float32Array(n * size)
    for (let i = 0; i < n; i++) {
      const at = (from + i) * step * bands
      batch.set(features.subarray(at, at + size), i * size)
    }
    shares.push(...(await sharesOf(session, batch, n)))
  }
  return shares
}

/** Calls of the wake word against when it was said. Latency: from the end of the word to its first call, in seconds. */
export function judged(shares, { said, hours }, threshold) {
  const call = caller(threshold)
  const times = shares.flatMap((s) => {
    const made = call(s)
    return made?.word === 0 ? [made.time] : []
  })
  const wanted = said.filter(({ word }) => word === 0)
  const of = ({ from, to }) => times.filter((t) => t >= from && t <= to + grace)
  const latencies = wanted.flatMap((w) => (of(w).length > 0 ? [of(w)[0] - w.to] : [])).sort((a, b) => a - b)
  const falseAccepts = times.filter((t) => !wanted.some(({ from, to }) => t >= from && t <= to + grace)).length
  return {
    threshold,
    said: wanted.length,
    hits: latencies.length,
    hitRate: latencies.length / wanted.length,
    falseAccepts,
    falseAcceptsPerHour: falseAccepts / hours,
    latency: { p50: latencies[latencies.length >> 1], p90: latencies[Math.floor(0.9 * latencies.length)] }
  }
}

/** The lowest threshold with at most so many false accepts an hour: it misses the fewest words. */
export function chosenThreshold(shares, stream, mostPerHour) {
  const all = Array.from({ length: 50 }, (_, i) => (50 + i) / 100)
  return all.find((t) => judged(shares, stream, t).falseAcceptsPerHour <= mostPerHour) ?? all.at(-1)
}

/**
 * Listening to the first minute as it comes in, a look at a time: milliseconds a look, share of real time, and whether
 * the calls are those that the looks at the whole stream led to.
 */
export async function pace(session, { samples }, shares, threshold) {
  const minute = samples.subarray(0, 60 * sampleRate)
  const hear = listener(session, threshold)
  const [times, calls] = [[], []]
  for (let at = 0; at < minute.length; at += block) {
    const begun = performance.now()
    calls.push(...(await hear(minute.subarray(at, at + block))))
    times.push(performance.now() - begun)
  }
  const call = caller(threshold)
  const expected = shares.flatMap((s) => call(s) ?? []).filter(({ time }) => time <= minute.length / sampleRate)
  const spell = (made) => made.map(({ time, word }) => `${time} ${word}`).join()
  const sum = times.reduce((a, b) => a + b)
  times.sort((a, b) => a - b)
  return {
    p50: times[times.length >> 1],
    p99: times[Math.floor(0.99 * times.length)],
    realTimeFactor: sum / 1000 / (minute.length / sampleRate),
    agrees: spell(calls) === spell(expected)
  }
}

const block = step * hop
