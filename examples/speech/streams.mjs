/** How well a model finds the wake word in a long stream, and how long a call takes. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { averager, caller, latch, listener, sharesOf, step } from './detect.mjs'
import { bands, frames, hop, sampleRate } from './features.mjs'
import { readWave } from './wave.mjs'

/** Seconds after the end of a word in which a call counts for it. */
const grace = 0.75

/** A stream as `prepared` left it: its features, what was said when, hours; the sound of its first minute. */
export function opened(folder, part) {
  const { samples } = readWave(readFileSync(join(folder, `${part}.wav`)))
  const { hours, said } = JSON.parse(readFileSync(join(folder, `${part}.json`), 'utf8'))
  const bytes = readFileSync(join(folder, `${part}.features`))
  return { samples, said, hours, features: new Float32Array(Uint8Array.from(bytes).buffer) }
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
export function judged(shares, stream, rule) {
  return judgedScores(shares.map(averager(rule.looks)), stream, rule)
}

function judgedScores(scores, { said, hours }, rule) {
  const call = latch(rule.threshold)
  const times = scores.flatMap((s) => {
    const made = call(s)
    return made?.word === 0 ? [made.time] : []
  })
  const wanted = said.filter(({ word }) => word === 0)
  const [latencies, counted] = [[], new Set()]
  let next = 0
  for (const { from, to } of wanted) {
    while (times[next] < from) next++
    const near = []
    for (let i = next; times[i] <= to + grace; i++) near.push(times[i])
    for (const t of near) counted.add(t)
    if (near.length > 0) latencies.push(near[0] - to)
  }
  latencies.sort((a, b) => a - b)
  const falseAccepts = times.length - counted.size
  return {
    rule,
    said: wanted.length,
    hits: latencies.length,
    hitRate: latencies.length / wanted.length,
    falseAccepts,
    falseAcceptsPerHour: falseAccepts / hours,
    latency: { p50: latencies[latencies.length >> 1], p90: latencies[Math.floor(0.9 * latencies.length)] }
  }
}

/** Thresholds that are tried: closer and closer to 1. */
const thresholds = Array.from({ length: 40 }, (_, i) => 1 - 0.5 * 0.85 ** i)

/** How many looks to average and which threshold: the most hits with at most so many false accepts an hour. */
export function chosenRule(shares, stream, mostPerHour) {
  const found = [2, 3, 4, 6, 8].flatMap((looks) => {
    const scores = shares.map(averager(looks))
    const all = thresholds.map((threshold) => judgedScores(scores, stream, { threshold, looks }))
    return all.find((j) => j.falseAcceptsPerHour <= mostPerHour) ?? all.slice(-1)
  })
  return found.reduce((best, j) => (j.hits > best.hits ? j : best)).rule
}

/**
 * Listening to the first minute as it comes in, a look at a time: milliseconds a look, share of real time, and whether
 * the calls are those that the looks at the whole stream led to.
 */
export async function pace(session, { samples }, shares, rule) {
  const hear = listener(session, rule)
  const [times, calls] = [[], []]
  for (let at = 0; at < samples.length; at += block) {
    const begun = performance.now()
    calls.push(...(await hear(samples.subarray(at, at + block))))
    times.push(performance.now() - begun)
  }
  const call = caller(rule)
  const expected = shares.flatMap((s) => call(s) ?? []).filter(({ time }) => time <= samples.length / sampleRate)
  const spell = (made) => made.map(({ time, word }) => `${time} ${word}`).join()
  const sum = times.reduce((a, b) => a + b)
  times.sort((a, b) => a - b)
  return {
    p50: times[times.length >> 1],
    p99: times[Math.floor(0.99 * times.length)],
    realTimeFactor: sum / 1000 / (samples.length / sampleRate),
    agrees: spell(calls) === spell(expected)
  }
}

const block = step * hop
