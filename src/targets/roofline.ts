/**
 * Time and memory of operators by the peaks that a device's record states:
 *
 *     t = max(MACs / (rate · share), (read + given) / bandwidth, weights / bandwidth of weights)
 *
 * A rate that is not stated does not count. No device reaches its peaks: this ranks, and promises nothing.
 */
import type { Preflight } from '../report/types.ts'
import type { DType } from '../types.ts'
import type { Device, DeviceRates, FileOperator } from './types.ts'

/** Bytes of what was float, once it is quantized to a type. */
const narrowed = (bytes: number, as: DType | undefined): number =>
  as === undefined ? bytes : bytes / (as === 'int16' ? 2 : 4)

/** ms of one operator; `undefined` where its figures are not known. */
export function operatorMs(rates: DeviceRates, op: FileOperator, as?: DType): number | undefined {
  const { macs, bytes } = op
  if (macs === undefined || bytes === undefined) return undefined
  const share = op.facts('depthwise') === 'yes' ? (rates.depthwiseShare ?? 1) : 1
  const rate = `${op.facts('dtype')}`.startsWith('float')
    ? (rates.floatMacsPerSecond ?? rates.macsPerSecond)
    : rates.macsPerSecond
  const over = (amount: number, perSecond: number | undefined): number => (perSecond ? amount / perSecond : 0)
  return (
    1000 *
    Math.max(
      macs / (rate * share),
      over(narrowed(bytes.reads + bytes.gives, as), rates.bytesPerSecond),
      over(narrowed(bytes.weights, as), rates.weightBytesPerSecond)
    )
  )
}

/** ms of operators one behind the other; `undefined` where rates or figures are not known. */
export function rooflineOf(
  rates: DeviceRates | undefined,
  operators: readonly FileOperator[],
  as?: DType
): number | undefined {
  if (!rates) return undefined
  let total = 0
  for (const op of operators) {
    const ms = operatorMs(rates, op, as)
    if (ms === undefined) return undefined
    total += ms
  }
  return total
}

/** Bytes of results that are held at once at most, each from where it is made until it is last read. */
function peakOf(operators: readonly FileOperator[]): number | undefined {
  const last = operators.map((_, i) => i)
  for (const [i, op] of operators.entries()) for (const r of op.reads) last[r] = Math.max(last[r] ?? r, i)
  let peak = 0
  for (const [i, op] of operators.entries()) {
    if (!op.bytes) return undefined
    let held = op.reads.length === 0 ? op.bytes.reads : 0
    for (let j = 0; j <= i; j++) if ((last[j] as number) >= i) held += operators[j]?.bytes?.gives ?? 0
    peak = Math.max(peak, held)
  }
  return peak
}

/** What the model would put into each memory that the record states. */
export function memoryOf(device: Device, operators: readonly FileOperator[], as?: DType): Preflight['memory'] {
  const weights = operators.reduce<number | undefined>(
    (n, { bytes }) => (n === undefined || !bytes ? undefined : n + bytes.weights),
    0
  )
  const peak = peakOf(operators)
  return (device.memory ?? []).flatMap(({ holds, bytes: has, beyond, ...from }) => {
    const all = holds === 'weights' ? weights : peak
    if (all === undefined) return []
    const needs = Math.ceil(narrowed(all, as))
    return [{ ...from, says: `${holds}: ${needs} of ${has} bytes${needs > has ? `; ${beyond}` : ''}`, needs, has }]
  })
}
