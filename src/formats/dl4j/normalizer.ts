/**
 * The normalizer beside a network (`NormalizerSerializer`): UTF "NORMALIZER", int32 version, UTF type, and the type's own
 * numbers, big-endian. Of inputs only; what normalizes labels is training's.
 */
import { PareError } from '../../base/errors.ts'
import { readArray, utfAt } from './arrays.ts'

/** y = (x − shift) / scale · times + plus, for each feature or channel, or for all where there is one. */
export interface Normalizer {
  readonly type: string
  readonly shift: Float32Array
  readonly scale: Float32Array
  readonly times: number
  readonly plus: number
}

const least = 1e-5

/** Throws `E_FORMAT` where it is damaged; `undefined` with the type's name where it is not known. */
export function readNormalizer(given: Uint8Array): Normalizer | { readonly type: string; readonly shift?: undefined } {
  const where = 'normalizer.bin'
  const fail = (message: string): PareError => new PareError('E_FORMAT', message, { where })
  const bytes = new Uint8Array(given)
  const view = new DataView(bytes.buffer)
  const head = utfAt(bytes, 0, fail)
  if (head.text !== 'NORMALIZER') throw fail('not a normalizer of ND4J')
  const { text: type, end } = utfAt(bytes, head.end + 4, fail)
  const double = (at: number): number => {
    if (at + 8 > bytes.length) throw fail('the normalizer is cut short')
    return view.getFloat64(at)
  }
  switch (type) {
    case 'STANDARDIZE': {
      const mean = readArray(bytes, end + 1, where)
      const deviation = readArray(bytes, mean.end, where)
      return pair(
        type,
        mean.values,
        deviation.values.map((x) => Math.max(x, least)),
        1,
        0,
        fail
      )
    }
    case 'MIN_MAX': {
      const [low, high] = [double(end + 1), double(end + 9)]
      const min = readArray(bytes, end + 17, where)
      const max = readArray(bytes, min.end, where)
      const range = max.values.map((x, i) => Math.max(x - (min.values[i] ?? 0), least))
      return pair(type, min.values, range, high - low, low, fail)
    }
    case 'IMAGE_MIN_MAX': {
      const [low, high, most] = [double(end), double(end + 8), double(end + 16)]
      if (most === 0) throw fail('the greatest pixel is 0')
      return pair(type, Float32Array.of(0), Float32Array.of(most), high - low, low, fail)
    }
  }
  return { type }
}

function pair(
  type: string,
  shift: Float32Array,
  scale: Float32Array,
  times: number,
  plus: number,
  fail: (message: string) => PareError
): Normalizer {
  if (shift.length !== scale.length || shift.length === 0) throw fail(`${shift.length} and ${scale.length} numbers`)
  return { type, shift, scale, times, plus }
}
