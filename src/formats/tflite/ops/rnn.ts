/**
 * Recurrent layers. Weights of one gate are an input each; ONNX stacks them. States are variables of the file, which keep
 * their values between runs there and start at zero here: a note says so.
 */
import type { Call, Rows } from '../call.ts'
import { summand } from './bias.ts'

/** Places of a direction's inputs; -1 where the operator has none. */
interface Places {
  /** First of the weights on the data: input, forget, cell, output gate. */
  readonly input: number
  readonly recurrent: number
  /** Input, forget, output. */
  readonly peephole: number
  readonly bias: number
  readonly projection: number
  readonly state: number
  readonly norm: number
}

const forward: Places = { input: 1, recurrent: 5, peephole: 9, bias: 12, projection: 16, state: 18, norm: 20 }
const both: readonly [Places, Places] = [
  { ...forward, state: 35, norm: 60 },
  { input: 18, recurrent: 22, peephole: 26, bias: 29, projection: 33, state: 37, norm: 60 }
]

/** One direction's weights, stacked as ONNX has them: input, output, forget, cell. */
interface Stacked {
  readonly weights: string
  readonly recurrence: string
  readonly biases: string
  readonly peepholes: string | null
}

function stacked(c: Call, at: Places): Stacked {
  if (c.has(at.projection)) c.refuse('it has a projection')
  if (c.has(at.norm + 1)) c.refuse('it has layer normalization')
  const units = c.shape(at.recurrent + 1)[0] ?? 0
  // Without an input gate it is 1 − the forget gate: the logistic of the negated sum.
  const isCoupled = !c.has(at.input)
  const gate = (first: number, k: number): string =>
    k === 0 && isCoupled ? c.op('Neg', [summand(c, first + 1)]) : summand(c, first + k)
  const join = (ids: readonly string[]): string => c.op('Unsqueeze', [c.op('Concat', ids, { axis: 0 }), c.ints([0])])
  const gates = (first: number): readonly string[] => [0, 3, 1, 2].map((k) => gate(first, k))
  c.bounded(8 * units)
  const biases = c.has(at.bias + 1)
    ? gates(at.bias)
    : [c.constant('float32', [4 * units], new Array(4 * units).fill(0))]
  const none = c.constant('float32', [4 * units], new Array(4 * units).fill(0))
  const peepholes = c.has(at.peephole + 1) ? join([0, 2, 1].map((k) => gate(at.peephole, k))) : null
  return {
    weights: join(gates(at.input)),
    recurrence: join(gates(at.recurrent)),
    biases: join([...biases, none]),
    peepholes
  }
}

const activations: Readonly<Record<string, string>> = { TANH: 'Tanh', RELU: 'Relu' }

/** Steps first: [steps, batch, features]. */
function stepsFirst(c: Call, isTimeMajor: boolean): string {
  c.ranked(3)
  return isTimeMajor ? c.value() : c.transpose(c.value(), [1, 0, 2])
}

/** All steps of all directions: [steps, directions, batch, units]. */
function lstm(c: Call, x: string, directions: readonly Places[]): string {
  const all = directions.map((at) => stacked(c, at))
  const joined = (ids: readonly string[]): string =>
    ids.length === 1 ? (ids[0] as string) : c.op('Concat', ids, { axis: 0 })
  const units = c.shape((directions[0] as Places).recurrent + 1)[0] ?? 0
  const activation =
    activations[c.text('fused_activation_function', 'NONE')] ?? c.refuse('its activation has no counterpart')
  const clip = c.number('cell_clip')
  if (clip > 0) c.note(`cell states are not cut off at ±${clip}`)
  if (directions.some((at) => c.has(at.state))) c.note('states start at zero in every run')
  const peepholes = all.flatMap(({ peepholes: p }) => (p === null ? [] : [p]))
  if (peepholes.length % all.length !== 0) c.refuse('one of its directions has peepholes')
  const inputs = [
    x,
    joined(all.map((s) => s.weights)),
    joined(all.map((s) => s.recurrence)),
    joined(all.map((s) => s.biases)),
    ...(peepholes.length > 0 ? [null, null, null, joined(peepholes)] : [])
  ]
  return c.op('LSTM', inputs, {
    hidden_size: units,
    ...(all.length === 2 ? { direction: 'bidirectional' } : {}),
    ...(activation === 'Tanh' ? {} : { activations: all.flatMap(() => ['Sigmoid', activation, activation]) })
  })
}

function sequenceLstm(c: Call): string {
  const isTimeMajor = c.flag('time_major')
  if (c.flag('diagonal_recurrent_tensors')) c.refuse('its recurrent weights are diagonals')
  const y = c.op('Squeeze', [lstm(c, stepsFirst(c, isTimeMajor), [forward]), c.ints([1])])
  return isTimeMajor ? y : c.transpose(y, [1, 0, 2])
}

function bidirectionalLstm(c: Call): readonly string[] {
  const isTimeMajor = c.flag('time_major')
  if (c.has(39)) c.refuse('it has an auxiliary input')
  const y = lstm(c, stepsFirst(c, isTimeMajor), both)
  const halves = c.ops('Split', [y], { axis: 1, num_outputs: 2 }, 2).map((id) => c.op('Squeeze', [id, c.ints([1])]))
  const parts = c.flag('merge_outputs') ? [c.op('Concat', halves, { axis: 2 })] : halves
  return isTimeMajor ? parts : parts.map((id) => c.transpose(id, [1, 0, 2]))
}

/** A single step of the full kernel, or of the basic one, whose weights are one matrix over data and state. */
function lstmStep(c: Call): readonly string[] {
  if (c.text('kernel_type', 'FULL') === 'BASIC') return basicStep(c)
  const x = c.op('Unsqueeze', [c.value(), c.ints([0])])
  const y = c.op('Squeeze', [lstm(c, x, [forward]), c.ints([0, 1])])
  return c.outputCount === 1 ? [y] : c.refuse('it gives its inner values')
}

/** Inputs: data, state, weights [4 units, data + units], bias, cell. Gates: input, cell, forget, output. */
function basicStep(c: Call): readonly string[] {
  const joined = c.op('Concat', [c.value(0), c.value(1)], { axis: 1 })
  const sums = c.op('Gemm', [joined, c.value(2), c.value(3)], { transB: 1 })
  const [i = '', g = '', f = '', o = ''] = c.ops('Split', [sums], { axis: 1, num_outputs: 4 }, 4)
  const gate = (id: string): string => c.op('Sigmoid', [id])
  const fresh = c.op('Mul', [gate(i), c.op('Tanh', [g])])
  const cell = c.op('Add', [fresh, c.op('Mul', [gate(f), c.value(4)])])
  return [c.op('Mul', [gate(o), c.op('Tanh', [cell])]), cell, joined, sums]
}

/** Inputs: data, weights, recurrent weights, bias, state. */
function rnn(c: Call, x: string): string {
  const name = c.text('fused_activation_function', 'NONE')
  const activation = activations[name] ?? c.refuse(`its activation is ${name}`)
  const units = c.shape(1)[0] ?? 0
  c.bounded(2 * units)
  const front = (id: string): string => c.op('Unsqueeze', [id, c.ints([0])])
  const none = c.constant('float32', [units], new Array(units).fill(0))
  c.note('states start at zero in every run')
  return c.op(
    'RNN',
    [x, front(c.value(1)), front(c.value(2)), front(c.op('Concat', [summand(c, 3), none], { axis: 0 }))],
    {
      hidden_size: units,
      activations: [activation]
    }
  )
}

function sequenceRnn(c: Call): string {
  const isTimeMajor = c.flag('time_major')
  const y = c.op('Squeeze', [rnn(c, stepsFirst(c, isTimeMajor)), c.ints([1])])
  return isTimeMajor ? y : c.transpose(y, [1, 0, 2])
}

const rnnStep = (c: Call): string =>
  c.op('Squeeze', [rnn(c, c.op('Unsqueeze', [c.value(), c.ints([0])])), c.ints([0, 1])])

/**
 * A layer whose kernels over data and time are products of two vectors, `rank` of them for each unit. With a state of zeros, only
 * the last step of the kernels over time counts. Inputs: data, kernels over data, kernels over time, bias, state.
 */
function svdf(c: Call): string {
  const rank = c.number('rank')
  const [filters = 0, steps = 0] = c.shape(2)
  const units = filters / rank
  if (!Number.isInteger(units) || steps < 1) c.refuse(`it has ${filters} filters of rank ${rank}`)
  c.note('states start at zero in every run')
  const features = c.op('Gemm', [c.value(0), c.value(1)], { transB: 1 })
  const last = c.op('Slice', [c.value(2), c.ints([steps - 1]), c.ints([steps]), c.ints([1])])
  const weighted = c.op('Mul', [features, c.reshape(last, [1, filters])])
  const summed = c.op('ReduceSum', [c.reshape(weighted, [-1, units, rank]), c.ints([2])], { keepdims: 0 })
  return c.activation(c.has(3) ? c.op('Add', [summed, summand(c, 3)]) : summed)
}

export const rnnRows: Rows = {
  UNIDIRECTIONAL_SEQUENCE_LSTM: sequenceLstm,
  BIDIRECTIONAL_SEQUENCE_LSTM: bidirectionalLstm,
  LSTM: lstmStep,
  UNIDIRECTIONAL_SEQUENCE_RNN: sequenceRnn,
  RNN: rnnStep,
  SVDF: svdf
}
