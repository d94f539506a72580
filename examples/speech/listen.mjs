/**
 * Prints the words that a model hears in a WAV file, or in sound that comes in: 16 kHz, one channel, 16 bits.
 *
 *   node examples/speech/listen.mjs MODEL.onnx FILE.wav
 *   arecord -q -f S16_LE -r 16000 -c 1 -t raw | node examples/speech/listen.mjs MODEL.onnx
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { nodeRunner } from '../../dist/node/index.js'
import { listener, step } from './detect.mjs'
import { hop, sampleRate } from './features.mjs'
import { readWave, resampled } from './wave.mjs'
import { keywords } from './words.mjs'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { threshold: { type: 'string', default: '0.9' }, looks: { type: 'string', default: '3' } }
})
const [model, file] = positionals
if (!model) {
  process.stderr.write('usage: node examples/speech/listen.mjs MODEL.onnx [FILE.wav] [--threshold 0.9] [--looks 3]\n')
  process.exit(2)
}

const block = step * hop

async function* ofFile(path) {
  const { samples, rate } = readWave(readFileSync(path))
  const all = resampled(samples, rate)
  for (let at = 0; at < all.length; at += block) yield all.subarray(at, at + block)
}

async function* ofInput() {
  let odd = Buffer.alloc(0)
  for await (const piece of process.stdin) {
    const bytes = Buffer.concat([odd, piece])
    const count = bytes.length >> 1
    odd = bytes.subarray(2 * count)
    yield Float32Array.from({ length: count }, (_, i) => bytes.readInt16LE(2 * i) / 32768)
  }
}

const session = await nodeRunner().open({ path: model })
const hear = listener(session, { threshold: Number(values.threshold), looks: Number(values.looks) })
let [heard, busy] = [0, 0]
for await (const samples of file ? ofFile(file) : ofInput()) {
  const begun = performance.now()
  const calls = await hear(samples)
  busy += performance.now() - begun
  heard += samples.length / sampleRate
  for (const { time, word, score } of calls)
    process.stdout.write(`${time.toFixed(2).padStart(8)} s  ${keywords[word].padEnd(9)} ${score.toFixed(2)}\n`)
}
await session.close()
process.stderr.write(
  `${heard.toFixed(1)} s of sound in ${(busy / 1000).toFixed(2)} s of work: real-time factor ${(busy / 1000 / heard).toFixed(4)}\n`
)
