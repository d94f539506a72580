/**
 * One subgraph on its way into a graph: which value stands for each of its tensors. A quantized tensor is two values, its codes
 * and the floats that these stand for; floats are made, by DequantizeLinear, where an operator asks for them.
 */
import { PareError } from '../../base/errors.ts'
import { codeOfDtype } from '../../ir/dtype-code.ts'
import { permuteTensor } from '../../ir/order.ts'
import { elementCount, tensor } from '../../ir/tensor.ts'
import type { DType, Remarks, Tensor } from '../../types.ts'
import { type AttrsGiven, type Emitter, type Inputs, shortened } from './emit.ts'
import type { FlatModel, FlatTensor, SubGraph } from './model.ts'
import { saying } from './remarks.ts'
import { dtypeOf, type Held, heldIn, isConstant, type Quantization, quantizationOf } from './tensors.ts'

/** Elements of a constant that is made rather than read, at most. */
export const mostMade = 2 ** 22

export class Scope {
  readonly model: FlatModel
  readonly emitter: Emitter
  readonly graph: SubGraph
  private readonly tensors: readonly FlatTensor[]
  private readonly outputs: ReadonlySet<number>
  /** Ids that the values of tensors get: the tensors' names. */
  private readonly names = new Map<number, string>()
  private readonly bound = new Map<number, string>()
  private readonly held = new Map<number, Held | undefined>()
  private readonly changed = new Map<number, Quantization>()
  private readonly made = new Map<string, string>()
  /** Ids that the current operator has made and no tensor has yet. */
  private readonly loose = new Set<string>()
  private hint = ''
  /** Are constants alone quantized? Layers then round their data while they run. */
  private readonly isDynamic: boolean

  constructor(model: FlatModel, graph: SubGraph, emitter: Emitter) {
    this.model = model
    this.graph = graph
    this.emitter = emitter
    this.tensors = graph.tensors ?? []
    this.outputs = new Set(graph.outputs)
    this.isDynamic = this.tensors.every((t) => isConstant(model, t) || !quantizationOf(t))
  }

  tensor(at: number): FlatTensor {
    const t = this.tensors[at]
    if (!t) throw new PareError('E_FORMAT', `tensor ${at} of ${this.tensors.length} is asked for`)
    return t
  }

  nameOf(at: number): string {
    const known = this.names.get(at)
    if (known !== undefined) return known
    const id = this.emitter.ids.fresh(this.tensor(at).name || `tensor_${at}`)
    this.names.set(at, id)
    return id
  }

  quantizationOf(at: number): Quantization | undefined {
    return this.changed.get(at) ?? this.heldOf(at)?.quantization ?? quantizationOf(this.tensor(at))
  }

  /** A tensor that is computed is quantized otherwise than the file says. */
  quantize(at: number, q: Quantization): void {
    this.changed.set(at, q)
  }

  /** The constant behind a tensor; `undefined` where it is computed or given. */
  heldOf(at: number): Held | undefined {
    if (this.bound.has(at)) return undefined
    if (!this.held.has(at)) {
      const t = this.tensor(at)
      this.held.set(at, t.is_variable ? undefined : heldIn(this.model, t, t.name || `tensor_${at}`))
    }
    return this.held.get(at)
  }

  /** The operators from here on see this constant where they read the tensor. */
  hold(at: number, held: Held): void {
    this.held.set(at, held)
    // A graph's outputs are made by nodes.
    if (this.outputs.has(at)) this.bind(at, this.add('Identity', [this.value(at)]))
  }

  /** Begins an operator: nodes are named after its first output. */
  begin(outputs: readonly number[]): void {
    this.loose.clear()
    const [first] = outputs
    this.hint = first === undefined ? 'operator' : this.nameOf(first)
  }

  add(op: string, inputs: Inputs, attrs: AttrsGiven = {}): string {
    return this.addAll(op, inputs, attrs, 1)[0] as string
  }

  addAll(op: string, inputs: Inputs, attrs: AttrsGiven, count: number, domain?: string): readonly string[] {
    const hints = Array.from({ length: count }, (_, i) => `${shortened(this.hint)}/${op}${i === 0 ? '' : `_${i}`}`)
    const ids = this.emitter.add(op, inputs, attrs, hints, domain)
    for (const id of ids) this.loose.add(id)
    return ids
  }

  constant(data: Tensor, hint = 'constant'): string {
    return this.emitter.constant(data, `${shortened(this.hint)}/${hint}`)
  }

  /** A tensor is an input of the graph. */
  input(at: number, id: string): void {
    this.bound.set(at, id)
  }

  /** The value of an output, under the tensor's name. */
  output(at: number): string {
    const raw = this.raw(at)
    if (this.emitter.makes(raw)) return raw
    // An input or a constant that is an output too.
    return this.emitter.add('Identity', [raw], {}, [`${raw}/out`])[0] as string
  }

  /** A tensor is this value: codes, where it is quantized. */
  bind(at: number, id: string): void {
    if (this.loose.delete(id)) {
      this.emitter.rename(id, this.nameOf(at))
      this.bound.set(at, this.nameOf(at))
    } else if (this.outputs.has(at)) this.bind(at, this.add('Identity', [id]))
    else this.bound.set(at, id)
  }

  /** A tensor is what the floats of a value become: quantized where it is. `perm`: the value's axes are to be put in this order. */
  give(at: number, id: string, perm?: readonly number[]): void {
    const q = this.quantizationOf(at)
    const made = q ? this.add('QuantizeLinear', [id, ...this.parameters(at, q)], axisOf(q)) : id
    this.bind(at, perm ? this.add('Transpose', [made], { perm }) : made)
  }

  /** The tensor as the file has it: of a quantized one its codes. */
  raw(at: number): string {
    const bound = this.bound.get(at)
    if (bound !== undefined) return bound
    const held = this.heldOf(at) ?? this.empty(at)
    return this.once(`${at}`, () => this.emitter.constant(held.data, this.nameOf(at), held.sparse))
  }

  /** The tensor's floats where it is quantized or of float16 constants, else the tensor as it is; axes of a constant in another order. */
  value(at: number, perm?: readonly number[]): string {
    const held = this.heldOf(at)
    return held ? this.constantValue(at, held, perm) : this.computed(at, perm)
  }

  /** Codes are moved rather than floats, so that DequantizeLinear stands right before what computes. */
  private computed(at: number, perm: readonly number[] | undefined): string {
    const q = this.quantizationOf(at)
    const raw = this.raw(at)
    const moved = perm ? this.once(`${at} ${perm}`, () => this.fixed('Transpose', [raw], raw, { perm })) : raw
    if (!q) return moved
    const axis = q.axis !== undefined && perm ? perm.indexOf(q.axis) : q.axis
    const attrs = axis === undefined ? {} : { axis }
    return this.once(`${at} ${perm ?? ''} floats`, () =>
      this.fixed('DequantizeLinear', [moved, ...this.parameters(at, q)], raw, attrs)
    )
  }

  private constantValue(at: number, held: Held, perm: readonly number[] | undefined): string {
    const wanted = dtypeOf(this.tensor(at))
    const key = `${at} ${perm ?? ''}`
    const data = perm ? permuteTensor(held.data, perm) : held.data
    const name = perm ? `${shortened(this.nameOf(at))}/permuted` : this.nameOf(at)
    const codes = perm
      ? this.once(`${key} codes`, () => this.emitter.constant(data, name, held.sparse))
      : this.rawHeld(at, held)
    const q = held.quantization
    if (q) {
      const axis = q.axis === undefined || !perm ? q.axis : perm.indexOf(q.axis)
      const moved = { ...q, ...(axis === undefined ? {} : { axis }) }
      return this.once(`${key} floats`, () =>
        this.fixed(
          'DequantizeLinear',
          [codes, ...this.parametersOf(held.data.dtype, q, this.nameOf(at))],
          name,
          axisOf(moved),
          held.isWidened ? saying('widened') : this.isDynamic ? saying('dynamic') : undefined
        )
      )
    }
    if (held.data.dtype !== 'float16' || wanted !== 'float32') return codes
    return this.once(`${key} floats`, () => this.fixed('Cast', [codes], name, { to: codeOfDtype('float32') }))
  }

  private rawHeld(at: number, held: Held): string {
    return this.once(`${at}`, () => this.emitter.constant(held.data, this.nameOf(at), held.sparse))
  }

  /** Scale and zero point of a tensor as constants. */
  parameters(at: number, q: Quantization): readonly [string, string] {
    return this.parametersOf(dtypeOf(this.tensor(at)) ?? 'int8', q, this.nameOf(at))
  }

  private parametersOf(dtype: DType, q: Quantization, name: string): readonly [string, string] {
    const shape = q.axis === undefined ? [] : [q.scale.length]
    const key = `${dtype} ${shape} ${q.scale} ${q.zero}`
    return [
      this.once(`scale ${key}`, () =>
        this.emitter.constant(tensor('float32', shape, q.scale), `${shortened(name)}/scale`)
      ),
      this.once(`zero ${key}`, () =>
        this.emitter.constant(tensor(dtype, shape, q.zero), `${shortened(name)}/zero_point`)
      )
    ]
  }

  /** A constant without elements, or the start of a state: 0. */
  private empty(at: number): Held {
    const t = this.tensor(at)
    const [dtype, shape] = [dtypeOf(t), t.shape ?? []]
    const count = elementCount(shape)
    if (!dtype || dtype === 'string' || !(t.is_variable || count === 0) || shape.some((d) => d < 0) || count > mostMade)
      throw new PareError('E_FORMAT', `an operator reads tensor ${t.name || at}, which nothing makes before it`, {
        where: t.name || `tensor ${at}`
      })
    return { name: this.nameOf(at), data: tensor(dtype, shape, new Array(count).fill(0)) }
  }

  /** A node named after a tensor rather than the operator at hand. */
  private fixed(op: string, inputs: Inputs, name: string, attrs: AttrsGiven, remarks?: Remarks): string {
    const [id = ''] = this.emitter.add(op, inputs, attrs, [`${shortened(name)}/${op}`], undefined, remarks)
    this.loose.add(id)
    return id
  }

  private once(key: string, make: () => string): string {
    const known = this.made.get(key)
    if (known !== undefined) return known
    const id = make()
    this.made.set(key, id)
    return id
  }
}

export const axisOf = ({ axis }: Quantization): AttrsGiven => (axis === undefined ? {} : { axis })
