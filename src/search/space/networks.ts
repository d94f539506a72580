/**
 * The two small networks of an actor-critic agent as ONNX graphs: trained by the product's own training graphs, run with
 * their weights as inputs. Layers are x·W + b, relu between them; the actor ends with a sigmoid.
 */
import type { Rng } from '../../base/random.ts'
import { bytesOf, tensorOf, toFloats } from '../../ir/tensor.ts'
import type { Runner, Session } from '../../runtime/types.ts'
import {
  differentiate,
  firstState,
  nextState,
  openTraining,
  rateFeeds,
  type Training,
  type TrainState,
  trainedValues
} from '../../train/index.ts'
import type { Model, Node, Tensor, Value } from '../../types.ts'

/** Weights of a network by name. */
export type Weights = Readonly<Record<string, Tensor>>

/** What a network is: its inputs, which are joined, its widths, and what it ends with. */
export interface Shape {
  readonly name: string
  readonly inputs: Readonly<Record<string, number>>
  readonly hidden: readonly number[]
  readonly ends: 'linear' | 'sigmoid'
}

/** A network that learns by steps of Adam towards targets, and runs with any weights. */
export interface Network {
  readonly first: Weights
  /** Outputs [n, 1] of rows of inputs. */
  run(weights: Weights, rows: Readonly<Record<string, Float32Array>>): Promise<Float32Array>
  /** One step of mean squared error towards targets on a batch; gives the weights after it. */
  step(rows: Readonly<Record<string, Float32Array>>, targets: Float32Array, rate: number): Promise<Weights>
  close(): Promise<void>
}

const floats = (shape: readonly number[], values: Float32Array): Tensor => tensorOf('float32', shape, bytesOf(values))

/** Opens a network for batches of a size. Uniform in ±1/√(inputs) to begin with, as the field's frameworks do. */
export async function openNetwork(engine: Runner, shape: Shape, batch: number, rng: Rng): Promise<Network> {
  const first = initial(shape, rng)
  const constant = graphOf(shape, first)
  const training = differentiate(constant, {
    loss: [{ kind: 'mse', output: 'y' }],
    ...{ batch, optimizer: { kind: 'adam' } as const, parameters: () => true }
  })
  const learning = await openTraining(training, { engine })
  const running = await engine.open(graphOf(shape, undefined))
  let state = firstState(training, constant)
  return {
    first,
    run: async (weights, rows) => {
      const out = await running.run({ ...fed(shape, rows), ...weights })
      return toFloats(out['y'] as Tensor)
    },
    step: async (rows, targets, rate) => {
      state = await stepped(training, learning, state, { ...fed(shape, rows) }, targets, rate)
      return Object.fromEntries(trainedValues(training, state))
    },
    close: async () => {
      await learning.close()
      await running.close()
    }
  }
}

async function stepped(
  training: Training,
  session: Session,
  state: TrainState,
  rows: Readonly<Record<string, Tensor>>,
  targets: Float32Array,
  rate: number
): Promise<TrainState> {
  const wanted = Object.fromEntries(training.targets.map((t) => [t.input, floats(t.shape, targets)]))
  const made = await session.run({ ...rows, ...state.feeds, ...wanted, ...rateFeeds(training, rate, state.step + 1) })
  return nextState(training, state, made)
}

const fed = ({ inputs }: Shape, rows: Readonly<Record<string, Float32Array>>): Readonly<Record<string, Tensor>> =>
  Object.fromEntries(
    Object.entries(inputs).map(([name, width]) => {
      const values = rows[name] as Float32Array
      return [name, floats([values.length / width, width], values)]
    })
  )

function initial({ name, inputs, hidden }: Shape, rng: Rng): Weights {
  const out: Record<string, Tensor> = {}
  const widths = [Object.values(inputs).reduce((a, b) => a + b, 0), ...hidden, 1]
  for (let l = 0; l + 1 < widths.length; l++) {
    const [from, to] = [widths[l] as number, widths[l + 1] as number]
    const draw = (n: number): Float32Array =>
      Float32Array.from({ length: n }, () => (2 * rng.next() - 1) / Math.sqrt(from))
    out[`${name}.w${l}`] = floats([from, to], draw(from * to))
    out[`${name}.b${l}`] = floats([1, to], draw(to))
  }
  return out
}

/** With weights as constants, or as inputs where none are given. */
function graphOf({ name, inputs, hidden, ends }: Shape, weights: Weights | undefined): Model {
  const nodes: Node[] = []
  const values = new Map<string, Value>()
  const value = (id: string, shape: readonly (number | string)[], data?: Tensor): string => {
    values.set(id, { id, type: 'tensor', dtype: 'float32', shape, ...(data ? { data } : {}) })
    return id
  }
  const op = (op: string, ins: readonly string[], out: string, width: number, attrs: Node['attrs'] = {}): string => {
    nodes.push({ name: out, op, inputs: ins, outputs: [out], attrs })
    return value(out, ['N', width])
  }
  const widths = [Object.values(inputs).reduce((a, b) => a + b, 0), ...hidden, 1]
  const given = Object.entries(inputs).map(([id, width]) => value(id, ['N', width]))
  const fedWeights: string[] = []
  let x =
    given.length > 1
      ? op('Concat', given, 'joined', widths[0] as number, { axis: { kind: 'int', value: 1 } })
      : (given[0] as string)
  for (let l = 0; l + 1 < widths.length; l++) {
    const [from, to] = [widths[l] as number, widths[l + 1] as number]
    const isLast = l + 2 === widths.length
    const [w, b] = [`${name}.w${l}`, `${name}.b${l}`]
    value(w, [from, to], weights?.[w])
    value(b, [1, to], weights?.[b])
    if (!weights) fedWeights.push(w, b)
    const product = op('MatMul', [x, w], `product${l}`, to)
    const sum = op('Add', [product, b], isLast && ends === 'linear' ? 'y' : `sum${l}`, to)
    x = isLast ? (ends === 'linear' ? sum : op('Sigmoid', [sum], 'y', to)) : op('Relu', [sum], `relu${l}`, to)
  }
  return {
    graph: { name, inputs: [...given, ...fedWeights], outputs: ['y'], nodes, values },
    opset: 21,
    domains: {},
    meta: {}
  }
}

/** τ·new + (1 − τ)·old, of every weight. */
export function towards(old: Weights, now: Weights, tau: number): Weights {
  return Object.fromEntries(
    Object.entries(old).map(([id, t]) => {
      const [a, b] = [toFloats(t), toFloats(now[id] as Tensor)]
      // A loop: `from` with a function takes ten times as long, and this is run after every update.
      const out = new Float32Array(a.length)
      for (let i = 0; i < out.length; i++) out[i] = (1 - tau) * (a[i] as number) + tau * (b[i] as number)
      return [id, floats(t.shape, out)]
    })
  )
}
