/** Words spoken by espeak-ng. All of it is synthetic; nobody was recorded. */
import { spawn, spawnSync } from 'node:child_process'
import { rng } from '../../dist/node/index.js'
import { sampleRate } from './features.mjs'
import { readWave, resampled } from './wave.mjs'
import { accents, invented, keywords, others, sentence, speakers } from './words.mjs'

const list = (text) => text.split(/\s+/).filter(Boolean)

/** Why nothing can be spoken here; `undefined` where it can. */
export function whyMute() {
  const { error, status } = spawnSync('espeak-ng', ['--version'])
  if (!error && status === 0) return undefined
  return 'espeak-ng is not installed; on Debian or Ubuntu: apt-get install espeak-ng'
}

/** Processes at a time. */
const together = 4

/**
 * The sound of every keyword, of some other words and of a sentence of others from `takes` settings of voice, speed, pitch and
 * vocal tract of one part: `{ keywords: [[sound, …] by keyword], others: [sound, …], real: [sound, …], sentences: [sound, …] }`,
 * sounds as numbers in −1 … 1 at 16 kHz, silence cut off. `inventedPerTake`: words that nobody uses, many of them close to a
 * keyword; `real` are the other words without those.
 */
export async function spoken(part, { takes, othersPerTake, inventedPerTake, seed }) {
  const random = rng(`${seed} ${part} voices`)
  const [names, words] = [list(speakers[part]), list(others[part])]
  const plans = Array.from({ length: takes }, (_, i) => ({
    voice: `${accents[random.below(accents.length)]}+${names[i % names.length]}`,
    speed: 130 + random.below(100),
    pitch: 15 + random.below(71),
    tract: 0.88 + 0.26 * random.next(),
    words: random
      .permutation(words.length)
      .slice(0, othersPerTake)
      .map((k) => words[k])
      .concat(Array.from({ length: inventedPerTake }, () => invented(random)))
      .concat(sentence(words, random))
  }))
  const sameSound = await soundingLikeKeywords([...new Set(plans.flatMap((plan) => plan.words.slice(0, -1)))])
  for (const plan of plans) plan.words = plan.words.filter((w) => !sameSound.has(w))
  const inUse = new Set(words)
  const bank = { keywords: keywords.map(() => []), others: [], real: [], sentences: [] }
  for (let at = 0; at < plans.length; at += together) {
    const said = await Promise.all(
      plans.slice(at, at + together).map((plan) => say(plan, [...keywords, ...plan.words]))
    )
    for (const [k, sounds] of said.entries())
      for (const [i, sound] of sounds.entries()) {
        if (i === sounds.length - 1) bank.sentences.push(sound)
        else if (sound.length > longest) continue
        else if (i < keywords.length) bank.keywords[i].push(sound)
        else {
          bank.others.push(sound)
          if (inUse.has(plans[at + k].words[i - keywords.length])) bank.real.push(sound)
        }
      }
  }
  if (bank.keywords.some((sounds) => sounds.length < takes / 2)) throw new Error('espeak-ng left out most of a keyword')
  return bank
}

/** Samples of the longest word that is used: slow voices take more than the second that the networks see. */
const longest = 0.95 * sampleRate

/**
 * The words of a plan as sounds; none where the pauses do not tell them apart. Played faster or slower by `tract`, all
 * resonances move as with a shorter or longer vocal tract.
 */
async function say({ voice, speed, pitch, tract }, words) {
  const text = `<speak>${words.map((w) => `${w}.<break time="400ms"/>`).join(' ')}</speak>`
  const { samples, rate } = readWave(await espeak(['-v', voice, '-s', speed, '-p', pitch, '-m', '--stdout', text]))
  const parts = loudParts(samples, 0.25 * rate)
  return parts.length === words.length
    ? parts.map(([from, to]) => resampled(samples.subarray(from, to), rate * tract))
    : []
}

/** Those of the words that espeak-ng pronounces as it does a keyword. */
async function soundingLikeKeywords(words) {
  const spelled = async (list) => {
    const text = list.map((w) => `${w}.`).join('\n')
    const out = await espeak(['-q', '-x', '-v', 'en-us', text])
    return out
      .toString('utf8')
      .trim()
      .split('\n')
      .map((line) => line.replace(/[\s',_:]/g, ''))
  }
  const known = new Set(await spelled(keywords))
  const found = new Set()
  for (let at = 0; at < words.length; at += 500) {
    const some = words.slice(at, at + 500)
    const sounds = await spelled(some)
    if (sounds.length !== some.length) throw new Error('espeak-ng gave another number of pronunciations than of words')
    for (const [i, word] of some.entries()) if (known.has(sounds[i])) found.add(word)
  }
  return found
}

async function espeak(args) {
  const child = spawn('espeak-ng', args.map(String), { stdio: ['ignore', 'pipe', 'inherit'] })
  const [pieces, code] = await Promise.all([
    child.stdout.toArray(),
    new Promise((resolve, reject) => child.on('error', reject).on('close', resolve))
  ])
  if (code !== 0) throw new Error(`espeak-ng ${args.join(' ')} ended with status ${code}`)
  return Buffer.concat(pieces)
}

const quiet = 0.002

/** Stretches `[from, to)` of sound that a pause of so many samples parts. */
function loudParts(samples, pause) {
  const parts = []
  let last = -Infinity
  for (const [i, x] of samples.entries()) {
    if (Math.abs(x) < quiet) continue
    if (i - last > pause) parts.push([i, i])
    parts.at(-1)[1] = i + 1
    last = i
  }
  return parts
}
