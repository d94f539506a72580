/** What could be changed in a model so that a device takes more of it or computes it faster: each by a rule of its record. */
import { greatest } from '../base/extremes.ts'
import { featureWords } from '../ir/rows.ts'
import type { Change, OperatorVerdict, Reason } from '../report/types.ts'
import type { Alignment, Condition, Device, Fact, FileOperator } from './types.ts'

type Judged = Pick<OperatorVerdict, 'verdict' | 'reasons'>

/** Activations that can take the place of others after some training, the nearest first, in the words of both formats. */
const standIns: Readonly<Record<string, readonly string[]>> = {
  GELU: ['HARD_SWISH', 'RELU6', 'RELU'],
  HARD_SWISH: ['RELU6', 'RELU'],
  ELU: ['LEAKY_RELU', 'RELU'],
  PRELU: ['LEAKY_RELU', 'RELU'],
  DIV: ['MUL'],
  Gelu: ['HardSwish', 'Relu'],
  'com.microsoft:QuickGelu': ['HardSwish', 'Relu'],
  HardSwish: ['Clip', 'Relu'],
  Mish: ['HardSwish', 'Relu'],
  Elu: ['LeakyRelu', 'Relu'],
  Selu: ['Elu', 'LeakyRelu', 'Relu'],
  PRelu: ['LeakyRelu', 'Relu'],
  Div: ['Mul']
}

/** Operators that a pass takes out of the graph, or writes as others. */
const preparations: Readonly<Record<string, string>> = {
  BatchNormalization: 'fold it into the layer before: pare fuse',
  Dropout: 'drop it: pare simplify',
  Identity: 'drop it: pare simplify',
  Flatten: 'write it as Reshape',
  Squeeze: 'write it as Reshape',
  Unsqueeze: 'write it as Reshape',
  Gather: 'where the indices are constant, write it as Slice or Split',
  Sum: 'write it as Add'
}

type Miss = Reason & Required<Pick<Reason, 'feature' | 'relation' | 'want'>>

/** What removes a miss, by the feature that is missed; `undefined`: nothing is known that does. */
type Remedy = (miss: Miss) => string | undefined

const numbersOf = (fact: Fact | Condition[2] | undefined): readonly number[] =>
  (typeof fact === 'object' ? fact : [fact]).filter((n): n is number => typeof n === 'number')

/** `×12` as `×4 and ×3`, where a device takes those; `undefined` where it cannot be split. */
function inSteps(whole: number, allowed: readonly number[]): readonly number[] | undefined {
  const steps = allowed.filter((n) => n > 1).toSorted((a, b) => b - a)
  for (const step of steps) {
    if (whole === step) return [step]
    const rest = whole % step === 0 ? inSteps(whole / step, allowed) : undefined
    if (rest) return [step, ...rest]
  }
  return undefined
}

function resized({ have, want, relation }: Miss): string | undefined {
  const allowed = numbersOf(want)
  const [down = 1, across = down] = numbersOf(have)
  if (relation !== 'in' || down !== across) return 'resize by the same whole factor down and across'
  const steps = inSteps(down, allowed)
  if (steps) return `split this resize by ${down} into steps of ${steps.join(', ')}`
  const near = allowed.filter((n) => n > 1).reduce((a, b) => (Math.abs(b - down) < Math.abs(a - down) ? b : a), 2)
  return `resize by ${near} in place of ${Math.round(down * 1000) / 1000}`
}

const upTo =
  (of: string): Remedy =>
  ({ have, want }) =>
    `${of} of ${numbersOf(have).join('×')} in two steps of at most ${numbersOf(want)[0]}`

const rounded: Remedy = ({ have, want, relation }) => {
  const [n, m] = [numbersOf(have)[0], numbersOf(want)[0]]
  if (relation !== 'multiple' || !n || !m) return undefined
  return `${n} channels → ${Math.ceil(n / m) * m}`
}

const remedies: Readonly<Partial<Record<Miss['feature'], Remedy>>> = {
  batch: () => 'write it for one sample at a time',
  bias: () => 'make the bias a constant: pare simplify',
  channels: rounded,
  coordinates: () => 'resize with half_pixel or align_corners',
  dataZeroPoint: () => 'quantize activations symmetrically: pare quantize-static for this target',
  dilation: () => 'a dilation of 1, with a larger kernel',
  dtype: ({ want }) =>
    ['int8', 'uint8'].some((t) => (typeof want === 'object' ? (want as readonly unknown[]).includes(t) : want === t))
      ? 'quantize it: pare quantize-static for this target'
      : undefined,
  halfPixel: () => 'resize without half pixel centres',
  inputs: ({ have, want }) => `join ${have} inputs in steps of ${numbersOf(want)[0]}`,
  kernel: upTo('a kernel'),
  kernelHeight: upTo('a kernel'),
  kernelArea: upTo('a kernel'),
  longest: ({ want }) => `parts of at most ${numbersOf(want)[0]} along its longest axis`,
  openAxes: () => 'fix the sizes of inputs: pare fix-sizes',
  outputChannels: rounded,
  permutation: () => 'move the transpose through what is around it, or lay the data out in the other order',
  quantized: () => 'quantize it: pare quantize-static for this target',
  rank: ({ want }) => `drop axes of length 1: at most ${numbersOf(want)[0]}`,
  reduced: ({ want }) => `reduce in two steps of at most ${numbersOf(want)[0]}`,
  reducedLongest: ({ want }) => `reduce in parts of at most ${numbersOf(want)[0]}`,
  sameScales: () => 'one scale for all that it reads and gives: pare quantize-static for this target',
  scale: resized,
  stride: ({ want }) => `strides of at most ${greatest(numbersOf(want))}, one behind the other`,
  weight: () => 'a constant in place of a weight that is computed',
  weightScales: () => 'one scale for the whole weight: --no-per-channel',
  weightZeroPoint: () => 'quantize weights symmetrically: pare quantize-static for this target',
  wideRank: ({ want }) => `drop axes of length 1: at most ${numbersOf(want)[0]} longer ones`
}

const isMiss = (r: Reason): r is Miss => r.feature !== undefined && r.relation !== undefined && r.want !== undefined

/** `takes`: would the device take an operator? */
export function changesOf(
  device: Device,
  operators: readonly FileOperator[],
  alone: readonly Judged[],
  takes: (op: FileOperator) => boolean
): readonly Change[] {
  const found = new Map<string, Change & { readonly names: string[] }>()
  const add = (op: FileOperator, what: string, why: Reason): void => {
    const key = `${op.op} ${what} ${why.says}`
    const known = found.get(key)
    if (known) known.names.push(op.name)
    else found.set(key, { what, op: op.op, names: [op.name], why })
  }
  const inner = readByLayers(operators)
  for (const [i, op] of operators.entries()) {
    const { verdict, reasons } = alone[i] as Judged
    if (verdict === 'runs') {
      for (const [what, why] of misaligned(device, op, inner.has(i) ? ['in', 'out'] : ['in'])) add(op, what, why)
      continue
    }
    for (const reason of reasons) {
      const what = isMiss(reason) ? remedies[reason.feature]?.(reason) : undefined
      if (what) add(op, what, reason)
    }
    const prepared = verdict === 'slow' || verdict === 'unknown' ? undefined : preparations[op.op]
    if (prepared) add(op, prepared, reasons[0] as Reason)
    const other = standIns[op.op]?.find((name) => takes({ ...op, op: name }))
    if (other && verdict !== 'slow') add(op, `replace ${op.op} by ${other}, and train a little`, reasons[0] as Reason)
  }
  return [...found.values()]
}

/** Layers of so few channels are the first ones, which nothing aligns. */
const few = 4

/** Places of operators that a layer reads, straight or through others: what the last layers give is what the model is for. */
function readByLayers(operators: readonly FileOperator[]): ReadonlySet<number> {
  const found = new Set<number>()
  const open = operators.flatMap((op) => (op.macs ? op.reads : []))
  for (let i = open.pop(); i !== undefined; i = open.pop()) {
    if (found.has(i)) continue
    found.add(i)
    for (const read of operators[i]?.reads ?? []) open.push(read)
  }
  return found
}

/** Channels of a layer that are no multiple of what its device computes at once. */
function misaligned(
  { align = [] }: Device,
  op: FileOperator,
  sides: readonly ('in' | 'out')[]
): readonly (readonly [string, Reason])[] {
  if (!op.macs) return []
  const worst = new Map<string, readonly [string, Reason]>()
  for (const a of align.filter((x) => x.type === undefined || x.type === op.facts('dtype')))
    for (const side of sides) {
      if (a.of !== 'both' && a.of !== side) continue
      const n = op.facts(features[side])
      if (typeof n !== 'number' || n <= few || n % a.multiple === 0 || worst.has(side)) continue
      worst.set(side, [
        `${n} ${words[side]} → ${Math.ceil(n / a.multiple) * a.multiple}`,
        alignmentReason(a, features[side], n)
      ])
    }
  return [...worst.values()]
}

const features = { in: 'channels', out: 'outputChannels' } as const
const words = { in: 'channels', out: 'output channels' } as const

const alignmentReason = (a: Alignment, feature: 'channels' | 'outputChannels', have: number): Reason => ({
  from: a.from,
  ...(a.ref === undefined ? {} : { ref: a.ref }),
  ...(a.url === undefined ? {} : { url: a.url }),
  says: `${featureWords[feature]} are ${have}; multiples of ${a.multiple} are fast: ${a.costs}`,
  ...{ feature, relation: 'multiple', want: a.multiple, have }
})
