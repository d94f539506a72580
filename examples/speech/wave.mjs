/**
 * Sound files as numbers, and back. Resampling: every new sample is a sum of those around it, weighted by a sinc at the
 * lower of both Nyquist frequencies under a Hann window.
 */
import wavefile from 'wavefile'
import { sampleRate } from './features.mjs'

/** The first channel of a WAV file, as numbers in −1 … 1 at its own rate. */
export function readWave(bytes) {
  const file = new wavefile.WaveFile(bytes)
  if (file.bitDepth !== '16') file.toBitDepth('16')
  const { numChannels, sampleRate: rate } = file.fmt
  const { samples: data } = file.data
  const all = new Int16Array(data.buffer.slice(data.byteOffset, data.byteOffset + 2 * (data.length >> 1)))
  const samples = new Float32Array(Math.floor(all.length / numChannels))
  for (let i = 0; i < samples.length; i++) samples[i] = all[i * numChannels] / 32768
  return { rate, samples }
}

/** A WAV file of 16 bits at 16 kHz. */
export function writeWave(samples) {
  const file = new wavefile.WaveFile()
  file.fromScratch(1, sampleRate, '16', [])
  const data = Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))))
  file.data.samples = new Uint8Array(data.buffer)
  file.data.chunkSize = data.byteLength
  return file.toBuffer()
}

/** Zero crossings of the sinc on each side. */
const crossings = 12
/** Positions between two samples for which weights are kept. */
const phases = 320

/** The same sound at 16 kHz. */
export function resampled(samples, rate) {
  if (rate === sampleRate) return samples
  const cutoff = Math.min(1, sampleRate / rate)
  const reach = Math.ceil(crossings / cutoff)
  const tables = Array.from({ length: phases }, (_, p) => kernel(p / phases, cutoff, reach))
  const padded = new Float32Array(samples.length + 2 * reach)
  padded.set(samples, reach)
  const out = new Float32Array(Math.floor((samples.length * sampleRate) / rate))
  for (let i = 0; i < out.length; i++) {
    const at = Math.round((i * rate * phases) / sampleRate)
    const [first, weights] = [Math.floor(at / phases) + 1, tables[at % phases]]
    let sum = 0
    for (let k = 0; k < weights.length; k++) sum += weights[k] * padded[first + k]
    out[i] = sum
  }
  return out
}

/** Weights of the samples from −reach + 1 to reach around a place, which is `fraction` after sample 0. */
function kernel(fraction, cutoff, reach) {
  return Float64Array.from({ length: 2 * reach }, (_, k) => {
    const x = k - reach + 1 - fraction
    if (Math.abs(x) >= reach) return 0
    const angle = Math.PI * cutoff * x
    const sinc = x === 0 ? 1 : Math.sin(angle) / angle
    return cutoff * sinc * (0.5 + 0.5 * Math.cos((Math.PI * x) / reach))
  })
}
