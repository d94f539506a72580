/**
 * Words in surroundings: neighbours, a room, noise, loudness. A room is the direct sound and sparse echoes whose strength
 * decays exponentially (60 dB within its reverberation time); noise is white, pink (Kellet's filter), mains hum, music or the
 * babble of other words, at a signal to noise ratio against the speech. The test part has noise of other kinds: rumble, gusts,
 * clatter and music of other instruments.
 */
import { sampleRate } from './features.mjs'
import { classes, keywords } from './words.mjs'

const second = sampleRate
const unknown = keywords.length
const silence = unknown + 1
/** Level of speech before loudness is drawn: root mean square. */
const speechLevel = 0.1

const between = (random, low, high) => low + (high - low) * random.next()
const pick = (random, items) => items[random.below(items.length)]
const factor = (decibels) => 10 ** (decibels / 20)
const samplesOf = (seconds) => Math.round(seconds * sampleRate)

function level(sound) {
  let sum = 0
  for (const x of sound) sum += x * x
  return Math.sqrt(sum / Math.max(1, sound.length))
}

function add(canvas, sound, at, gain) {
  const to = Math.min(sound.length, canvas.length - at)
  for (let i = Math.max(0, -at); i < to; i++) canvas[at + i] += gain * sound[i]
}

/** A word on the canvas from sample `at` on, all words about as loud. */
const speak = (canvas, word, at, random) =>
  add(canvas, word, at, (speechLevel / level(word)) * factor(between(random, -3, 3)))

// ---------------------------------------------------------------- rooms and noise

function inRoom(sound, random) {
  const out = sound.slice()
  const reverberation = between(random, 0.1, 0.4)
  for (let k = 0; k < echoes; k++) {
    const delay = between(random, 0.002, reverberation)
    const strength = between(random, -1, 1) * 0.5 * 10 ** ((-3 * delay) / reverberation)
    add(out, sound, samplesOf(delay), strength)
  }
  return out
}
const echoes = 40

function white(length, random) {
  return Float32Array.from({ length }, () => random.normal())
}

function pink(length, random) {
  let [a, b, c] = [0, 0, 0]
  return white(length, random).map((x) => {
    a = 0.99765 * a + x * 0.099046
    b = 0.963 * b + x * 0.2965164
    c = 0.57 * c + x * 1.0526913
    return a + b + c + x * 0.1848
  })
}

function hum(length, random) {
  const mains = pick(random, [50, 60])
  const parts = Array.from({ length: 8 }, (_, k) => [
    (2 * Math.PI * mains * (k + 1)) / sampleRate,
    random.next() / (k + 1),
    2 * Math.PI * random.next()
  ])
  const hiss = between(random, 0.01, 0.2)
  return white(length, random).map((x, i) =>
    parts.reduce((sum, [f, s, phase]) => sum + s * Math.sin(f * i + phase), hiss * x)
  )
}

function babble(length, random, words) {
  const out = new Float32Array(length)
  for (let voice = 0; voice < 5; voice++)
    for (let at = -random.below(second); at < length; ) {
      const word = pick(random, words)
      speak(out, word, at, random)
      at += word.length + random.below(second / 5)
    }
  return out
}

/** Brown noise: sums of white noise that leak. */
function rumble(length, random) {
  let sum = 0
  return white(length, random).map((x) => (sum = 0.995 * sum + x))
}

/** Pink noise that swells and dies away, each swell one half to three seconds. */
function gusts(length, random) {
  let [left, period] = [0, 1]
  return pink(length, random).map((x) => {
    if (left <= 0) left = period = samplesOf(between(random, 0.5, 3))
    return x * (0.05 + Math.sin((Math.PI * left--) / period) ** 2)
  })
}

/** Short knocks at random, each a few decaying tones. */
function clatter(length, random) {
  const out = white(length, random).map((x) => 0.01 * x)
  for (let at = 0; at < length; at += samplesOf(between(random, 0.05, 0.6))) {
    const [tone, decay, gain] = [between(random, 400, 4000), between(random, 0.005, 0.05), between(random, 0.2, 1)]
    for (let i = 0; i < samplesOf(6 * decay) && at + i < length; i++)
      out[at + i] += gain * Math.exp(-i / sampleRate / decay) * Math.sin((2 * Math.PI * tone * i) / sampleRate)
  }
  return out
}

/** Chords of three notes in a major key; `tone(frequency, seconds, age, random numbers of the note)`: the instrument. */
function music(length, random, instrument) {
  const out = new Float32Array(length)
  const [key, beat] = [between(random, 110, 220), between(random, 0.2, 0.6)]
  for (let at = 0; at < length; at += samplesOf(beat)) {
    const root = pick(random, [0, 5, 7, 9])
    for (const interval of [0, 4, 7]) {
      const hertz = key * 2 ** ((root + interval + 12 * random.below(2)) / 12)
      const character = [random.next(), random.next()]
      for (let i = 0; i < samplesOf(beat) && at + i < length; i++)
        out[at + i] += instrument(hertz, i / sampleRate, beat, character)
    }
  }
  return out
}

/** A string that was plucked: harmonics that decay, the higher the faster. */
const plucked = (hertz, age, _beat, [brightness]) => {
  let sum = 0
  for (let k = 1; k <= 6; k++)
    sum += (Math.exp(-age * k * 3) * Math.sin(2 * Math.PI * k * hertz * age)) / k ** (2 - brightness)
  return sum
}

/** A string that is bowed: harmonics that swell, with vibrato. */
const bowed = (hertz, age, beat, [brightness, vibrato]) => {
  const phase = 2 * Math.PI * hertz * age + 2 * vibrato * Math.sin(2 * Math.PI * 5.5 * age)
  let sum = 0
  for (let k = 1; k <= 8; k++) sum += Math.sin(k * phase) / k ** (1.6 - brightness / 2)
  return sum * Math.sin((Math.PI * age) / beat)
}

const familiar = [white, pink, hum, (n, random) => music(n, random, plucked), babble]
const unheard = [rumble, gusts, clatter, (n, random) => music(n, random, bowed), babble]

/**
 * Noise of every kind, a minute each in pieces of 3 s, to be cut from; `babble` last. `isTest`: of the kinds that no other part
 * has.
 */
export function noiseTracks(bank, random, isTest) {
  return (isTest ? unheard : familiar).map((make) => {
    const track = new Float32Array(60 * second)
    for (let at = 0; at < track.length; at += 3 * second) {
      const piece = make(3 * second, random, bank.others)
      add(track, piece, at, 1 / level(piece))
    }
    return track
  })
}

function addNoise(canvas, track, gain, random) {
  for (let done = 0; done < canvas.length; ) {
    const from = random.below(track.length - second)
    const piece = track.subarray(from, from + canvas.length - done)
    add(canvas, piece, done, gain)
    done += piece.length
  }
}

/** Loudness drawn, clipped and rounded as 16 bits are. */
function recorded(canvas, random) {
  const gain = factor(between(random, -15, 6))
  return canvas.map((x) => Math.max(-1, Math.min(32767 / 32768, Math.round(x * gain * 32768) / 32768)))
}

function surrounded(canvas, { noise, signalToNoise }, random) {
  const out = random.next() < 0.7 ? inRoom(canvas, random) : canvas
  addNoise(out, pick(random, noise), speechLevel * factor(-between(random, ...signalToNoise)), random)
  return recorded(out, random)
}

// ---------------------------------------------------------------- single seconds

/** One second and its class. `set`: `{ bank, noise, signalToNoise }`. */
export function scene(label, set, random) {
  const canvas = new Float32Array(second)
  if (label === silence) {
    addNoise(canvas, pick(random, set.noise.slice(0, -1)), factor(between(random, -70, -20)), random)
    return recorded(canvas, random)
  }
  if (label === unknown && random.next() < 0.25) fragment(canvas, set.bank, random)
  else if (label === unknown && random.next() < 0.33) chatter(canvas, set.bank, random)
  else
    withNeighbours(
      canvas,
      pick(random, label === unknown ? set.bank.others : set.bank.keywords[label]),
      set.bank,
      random
    )
  return surrounded(canvas, set, random)
}

/** The whole word somewhere in the second, often with others before and after. */
function withNeighbours(canvas, word, bank, random) {
  const at = random.below(second - word.length + 1)
  speak(canvas, word, at, random)
  neighbours(canvas, at, at + word.length, bank, random)
}

function neighbours(canvas, from, to, bank, random) {
  const [before, after] = [pick(random, bank.others), pick(random, bank.others)]
  const pause = () => samplesOf(between(random, 0.06, 0.5))
  if (random.next() < 0.5) speak(canvas, before, from - pause() - before.length, random)
  if (random.next() < 0.5) speak(canvas, after, to + pause(), random)
}

/** A keyword of which less than 40 % is in the second: not to be taken for it. */
function fragment(canvas, bank, random) {
  const word = pick(random, pick(random, bank.keywords))
  const visible = Math.round(word.length * between(random, 0.1, 0.4))
  const at = random.next() < 0.5 ? visible - word.length : second - visible
  speak(canvas, word, at, random)
  neighbours(canvas, at, at + word.length, bank, random)
}

/** Other words one after another, or a sentence of them, cut anywhere. */
function chatter(canvas, bank, random) {
  if (random.next() < 0.5) {
    const said = pick(random, bank.sentences)
    speak(canvas, said, -random.below(Math.max(1, said.length - second)), random)
    return
  }
  for (let at = -random.below(second / 2); at < second; ) {
    const word = pick(random, bank.others)
    speak(canvas, word, at, random)
    at += word.length + samplesOf(between(random, 0.03, 0.25))
  }
}

/** The classes of `count` seconds: five nineteenths unknown, two the wake word, one each the other. */
export function labelsFor(count, random) {
  const shares = [...classes.keys(), 0, unknown, unknown, unknown, unknown]
  return random.permutation(count).map((i) => shares[i % shares.length])
}

// ---------------------------------------------------------------- streams

const stretch = 15

/**
 * Some minutes of sound in pieces of 15 s, with a change of room, noise and loudness from each to the next, and when keywords
 * were said: `{ samples, said: [{ word, from, to }, …] }` a piece, times in seconds of the whole. An eighth of what is said is
 * the wake word (number 0), a quarter other keywords, a tenth sentences, the rest single words that are in use.
 */
export function* stream(minutes, set, random) {
  const length = Math.round(minutes * 60 * sampleRate)
  for (let start = 0; start < length; start += stretch * sampleRate) {
    const canvas = new Float32Array(Math.min(stretch * sampleRate, length - start))
    const said = talk(canvas, set.bank, random)
      .filter(({ word }) => word !== unknown)
      .map((w) => ({ word: w.word, from: (start + w.at) / sampleRate, to: (start + w.at + w.length) / sampleRate }))
    yield { samples: surrounded(canvas, set, random), said }
  }
}

function talk(canvas, bank, random) {
  const words = []
  for (let at = pauseOf(random); ; ) {
    const { word, sound } = nextSaid(canvas.length - at, bank, random)
    if (at + sound.length > canvas.length) return words
    speak(canvas, sound, at, random)
    words.push({ word, at, length: sound.length })
    at += sound.length + pauseOf(random)
  }
}

function nextSaid(room, bank, random) {
  const draw = random.next()
  if (draw < 0.375) {
    const word = draw < 0.125 ? 0 : 1 + random.below(keywords.length - 1)
    return { word, sound: pick(random, bank.keywords[word]) }
  }
  const sentence = draw < 0.475 ? pick(random, bank.sentences) : undefined
  return { word: unknown, sound: sentence && sentence.length <= room ? sentence : pick(random, bank.real) }
}

const pauseOf = (random) => samplesOf(random.next() < 0.7 ? between(random, 0.1, 0.6) : between(random, 0.6, 2.5))
