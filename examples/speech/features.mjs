/**
 * Log-mel features. A frame is 25 ms of 16 kHz sound every 20 ms: Hann window, power spectrum by an FFT of 512, 40
 * triangular bands of equal width on the mel scale (mel = 2595·log10(1 + f/700), O'Shaughnessy 1987) from 60 to 7600 Hz,
 * natural logarithm. Fixed offset and scale bring speech to about −1 … 2, so that frames do not depend on each other:
 * a stream has the same features as a recording.
 */
import FFT from 'fft.js'

export const sampleRate = 16_000
/** Samples in a frame, and from one frame to the next. */
export const frameLength = 400
export const hop = 320
export const bands = 40
/** Frames in the second that the networks see. */
export const frames = 49

const fftSize = 512
const [lowest, highest] = [60, 7600]
const floor = 1e-6
const [offset, scale] = [7, 4]

const hann = Float64Array.from({ length: frameLength }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / frameLength))
const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700)
const hertz = (mels) => 700 * (10 ** (mels / 2595) - 1)

/** Centre of a band in Hz; −1 and 40 are the outer ends. */
export const centre = (band) => hertz(mel(lowest) + ((band + 1) * (mel(highest) - mel(lowest))) / (bands + 1))

/** Weights of the FFT's bins by band, from its first bin on. */
const filters = Array.from({ length: bands }, (_, band) => {
  const [left, middle, right] = [centre(band - 1), centre(band), centre(band + 1)]
  const first = Math.ceil((left * fftSize) / sampleRate)
  const last = Math.floor((right * fftSize) / sampleRate)
  const weights = Array.from({ length: last - first + 1 }, (_, i) => {
    const f = ((first + i) * sampleRate) / fftSize
    return Math.max(0, Math.min((f - left) / (middle - left), (right - f) / (right - middle)))
  })
  return { first, weights }
})

const fft = new FFT(fftSize)

/** The bands of the frame that starts at a sample, written to `out` from `at` on. */
function frame(samples, start, out, at) {
  const windowed = new Array(fftSize).fill(0)
  for (let i = 0; i < frameLength; i++) windowed[i] = samples[start + i] * hann[i]
  const spectrum = fft.createComplexArray()
  fft.realTransform(spectrum, windowed)
  for (const [band, { first, weights }] of filters.entries()) {
    let power = 0
    for (const [i, weight] of weights.entries()) {
      const [re, im] = [spectrum[2 * (first + i)], spectrum[2 * (first + i) + 1]]
      power += weight * (re * re + im * im)
    }
    out[at + band] = (Math.log(power + floor) + offset) / scale
  }
}

/** Features of all whole frames, `bands` numbers a frame. */
export function logMel(samples) {
  const count = Math.max(0, 1 + Math.floor((samples.length - frameLength) / hop))
  const out = new Float32Array(count * bands)
  for (let i = 0; i < count; i++) frame(samples, i * hop, out, i * bands)
  return out
}

/** The same for sound that comes in pieces: each call returns the frames that its samples complete. */
export function logMelStream() {
  let rest = new Float32Array(0)
  return (samples) => {
    const all = new Float32Array(rest.length + samples.length)
    all.set(rest)
    all.set(samples, rest.length)
    const out = logMel(all)
    rest = all.slice((out.length / bands) * hop)
    return out
  }
}
