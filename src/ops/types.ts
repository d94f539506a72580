/** What Pare knows of operators: the record of one, its facets, and what a facet is given. Types only. */
import type { Expr, Place, Stmt } from '../ir/loops.ts'
import type { AttrInput, Attrs, Dim, DType, Graph, Node, Tensor, ValueType } from '../types.ts'

/** A type as inference sees it: with the value where it is constant, or symbolic where it is a small integer vector. */
export interface Known extends ValueType {
  readonly data?: Tensor
  /** Elements of a small tensor in row-major order as far as known (shape arithmetic); bools are 0 and 1. */
  readonly content?: readonly Dim[]
}

/** A node with what is known of its inputs and outputs. */
export interface NodeFacts {
  readonly node: Node
  /** One per input, `undefined` where left out or unknown. */
  readonly inputs: readonly (Known | undefined)[]
  /** One per output; empty while inferring. */
  readonly outputs: readonly (Known | undefined)[]
}

/** A node with all that is known around it; what the facets of an operator are given. */
export interface NodeView extends NodeFacts {
  /** Version of the node's own domain. */
  readonly opset: number
  /** Types of a subgraph's outputs, given those of its inputs. */
  inferGraph(graph: Graph, inputs: readonly (Known | undefined)[]): readonly (Known | undefined)[]
}

/** Work of one node; `undefined` where it cannot be known. `macs`: multiply-accumulates. */
export interface Cost {
  readonly macs: number | undefined
}

/**
 * What quantizing an operator means, whatever runs it; what an engine's kernels ask for beside it is a row of the target
 * (`IntegerRow`). `inputs`: the positions that become integers; none named: all of them. `weights`: the position of the
 * weight and its axis of output channels. `bias`: the position of the bias. `output`: a range of its `own`, the `same`
 * scale as the input's (data movement), or the bounds of all values that the operator can give. `clamp`: the operator only
 * clamps, and saturation of its producer's output can take its place.
 */
export interface QuantRule {
  readonly inputs: readonly number[]
  readonly weights?: WeightPlace
  readonly bias?: number
  readonly output: 'own' | 'same' | { readonly low: number; readonly high: number }
  /** Codes that an input must at least keep under the scale of the output, which holds its elements or sums of them. */
  readonly fewestCodes?: number
  /** The position of a scalar that is put among the elements of the output, 0 where it is left out. */
  readonly fill?: number
  /** The output holds sums: what a constant adds needs no codes of its own. */
  readonly sums?: true
  /** At the end of a model, its output is compared with thresholds: what it reads there is worth more than 256 values. */
  readonly thresholds?: true
  /** Lower and upper bound of the output where the operator clamps (Relu, Clip); infinite where open. */
  clamp?(n: NodeFacts): { readonly low: number; readonly high: number } | undefined
}

/**
 * A linear layer. Channels come in `groups`; output o of group g is
 *
 *     y[g, o] = alpha · Σ x[g, i, k] · W[g, o, i, k] + beta · b[g·outputs + o]        over i < inputs, k < kernel
 *
 * where element (g, o, i, k) of the weight tensor lies at g·strides.group + o·strides.out + i·strides.in +
 * k·strides.kernel. A matrix has one kernel position; a convolution counts those of its `patch`, the last axis fastest.
 * Of operators on codes, x, W and b are the numbers that the codes stand for.
 */
export interface Linear {
  /** Input positions. */
  readonly data: number
  readonly weight: number
  readonly groups: number
  /** Channels of one group. */
  readonly outputs: number
  readonly inputs: number
  readonly kernel: number
  readonly strides: { readonly group: number; readonly out: number; readonly in: number; readonly kernel: number }
  readonly alpha: number
  /** Where the bias is, or would be; absent: the operator takes none. */
  readonly bias?: { readonly input: number; readonly beta: number }
  /** Axes of the channels of data and output, counted from the end: −1 is the last. */
  readonly axes: { readonly in: number; readonly out: number }
  /** Absent: a matrix. */
  readonly patch?: Patch
}

/**
 * Which data a convolution multiplies: along each spatial axis, output position p and kernel position k read data position
 * p·stride + k·dilation − before. Transposed: data position p and kernel position k add to output position
 * p·stride + k·dilation − before. What lies outside counts as 0.
 */
export interface Patch {
  readonly transposed: boolean
  readonly axes: readonly PatchAxis[]
}

/** One spatial axis of a patch. `pads`: before and behind; `undefined` where they depend on sizes that are not known. */
export interface PatchAxis {
  readonly kernel: number
  readonly stride: number
  readonly dilation: number
  readonly pads: { readonly before: number; readonly behind: number } | undefined
}

/** Input positions: of a table, and of the integers by which its rows, along the first axis, are looked up. */
export interface Lookup {
  readonly table: number
  readonly ids: number
}

/** A constant that serves as a weight: its input position, and its axis of output channels (negative: from the end). */
export interface WeightPlace {
  readonly input: number
  axis(node: Node): number
}

/** A value of a training graph; there all sizes are numbers. */
export interface Ref {
  readonly id: string
  readonly dtype: DType
  readonly shape: readonly number[]
}

/** The training graph under construction, as a gradient rule sees it. */
export interface GradBuilder {
  /** A value of the graph by id, forward or made since. */
  value(id: string): Ref
  /** Does a gradient for this value lead to a parameter? What is made for others is removed again. */
  wants(id: string): boolean
  constant(data: Tensor): Ref
  /** Adds a node with its type inferred; returns its first output. */
  op(op: string, inputs: readonly (Ref | null)[], attrs?: Readonly<Record<string, AttrInput | undefined>>): Ref
  /** The same for a node of `count` outputs. */
  ops(
    op: string,
    inputs: readonly (Ref | null)[],
    attrs: Readonly<Record<string, AttrInput | undefined>>,
    count: number
  ): readonly Ref[]
  /** A graph input that every step fills with fresh uniform numbers in [0, 1). */
  noise(shape: readonly number[]): Ref
}

/**
 * The vector–Jacobian product of a node. `dy` holds the gradient of the loss by each output of the node; the result holds
 * the gradient by each input, in the shape of that input. `null` means that no gradient flows. Where an input holds integer
 * codes, its gradient is by the real numbers that the codes stand for.
 */
export type Grad = (g: GradBuilder, n: NodeView, dy: readonly (Ref | null)[]) => readonly (Ref | null)[]

/** An operator's form while training, where that is another one than in inference. */
export interface TrainForm {
  readonly outputs: readonly Ref[]
  /** Statistics of this batch, and the inputs (by position) whose running values they are to update. */
  readonly statistics?: readonly { readonly batch: Ref; readonly running: number; readonly momentum: number }[]
  grad(dy: readonly (Ref | null)[]): readonly (Ref | null)[]
}

/**
 * Positions along one axis of a node's input or output, dealt out to channels: channel c has
 * offset + (o·channels + c)·inner + i for all o < outer and i < inner. By default offset 0, outer and inner 1.
 */
export interface Span {
  readonly of: 'input' | 'output'
  readonly at: number
  readonly axis: number
  readonly offset?: number
  readonly outer?: number
  readonly inner?: number
  /** Products are summed over the channels of this span, if not over those of its whole link. */
  readonly sums?: true
}

/** A number of a node that is `each` × the channels of a link: an attribute by name, or an element of a constant input. */
export interface Count {
  readonly in: string | number
  readonly element?: number
  readonly each: number
}

/**
 * What goes together: without channel c, all its positions in all spans are gone, and the rest is computed as before (but
 * for statistics taken over the channels). `sums`: products are summed over the channels, so that one whose weights are
 * zero adds nothing. `counts`: what has to be written anew in the node.
 */
export interface Link {
  readonly channels: number
  readonly spans: readonly Span[]
  readonly sums?: true
  readonly counts?: readonly Count[]
}

/** An order of axes, as Transpose's `perm`: new axis i is the old axis order[i]. */
export type Order = readonly number[]

/**
 * The same node on data whose axes stand in another order: the order of every input and output (`undefined`: as before), and
 * what of the node is new. An order longer than the rank of an input means axes of size 1 put before its own.
 */
export interface Permuted {
  readonly inputs: readonly (Order | undefined)[]
  readonly outputs: readonly (Order | undefined)[]
  readonly attrs?: Readonly<Record<string, AttrInput>>
  /** Constant inputs by position. */
  readonly constants?: Readonly<Record<number, Tensor>>
}

/** An input or output of a node. */
export interface End {
  readonly of: 'input' | 'output'
  readonly at: number
}

/** Elements of an input that go to the output: along each axis, their count and how far apart they are there and here. */
export interface Copy {
  readonly input: number
  readonly sizes: readonly number[]
  /** In elements, as `to`. */
  readonly from: readonly number[]
  readonly to: readonly number[]
  readonly fromOffset: number
  readonly toOffset: number
}

/** One axis of a pool's window. */
export interface PoolAxis {
  readonly kernel: number
  readonly stride: number
  readonly dilation: number
  readonly before: number
}

/** Where the inputs and outputs of a node lie when it is compiled; elements on end, row-major. */
export interface Ends {
  readonly inputs: readonly (Place | undefined)[]
  readonly outputs: readonly Place[]
  /** The constant, put where the code can read it. */
  constant(data: Float32Array | Int32Array): Place
}

/**
 * What a node computes, for code that is compiled. `lanes`: each element of the output from those of the inputs, which
 * broadcast; inputs at `channels` hold one number for each position of axis 1. `copies`: elements moved, those that are
 * given none `fill`. `pool`: over windows of each map; `divisors`: what sums are divided by, one number, or one for each
 * position of the output. `matrices`: products of matrices in both of the last two axes, whose batches broadcast.
 * `body`: anything else, with what it needs of scratch memory in floats.
 */
export type Loops =
  | {
      readonly is: 'lanes'
      value(x: readonly Expr[]): Expr
      readonly channels?: readonly number[]
      /** It has no form for vectors. */
      readonly scalar?: true
    }
  | { readonly is: 'copies'; readonly copies: readonly Copy[]; readonly fill?: number }
  | {
      readonly is: 'pool'
      readonly by: 'max' | 'sum'
      readonly axes: readonly PoolAxis[]
      readonly divisors?: number | Float32Array
    }
  | { readonly is: 'matrices' }
  | {
      readonly is: 'body'
      readonly scratch?: number
      /** It gives means of `count` elements on end, `outer` times. */
      readonly means?: { readonly outer: number; readonly count: number }
      body(at: Ends, scratch: Place): Stmt[]
    }

/** A number for all elements, or the standard deviation of normal ones. */
export type Start = number | { deviation(shape: readonly number[], node: Node): number }

export type Precision = 'single' | 'half'

/** Everything Pare knows about an operator. An absent facet means unknown, and is reported as such. */
export interface Op {
  readonly name: string
  /** Absent: the default ONNX domain. */
  readonly domain?: string
  /** Types of the outputs; `undefined` where unknown. Throws `E_SHAPE` when the inputs contradict each other. */
  infer(n: NodeView): readonly (Known | undefined)[]
  cost?(n: NodeView): Cost
  readonly quant?: QuantRule
  /** Where constants serve as weights, which can be stored in fewer bits: the first of an input counts. */
  readonly weights?: readonly WeightPlace[]
  /** The node as a linear layer; `undefined` where it is none, or the shape of its weight is not known. */
  linear?(n: NodeFacts): Linear | undefined
  /** Absent or `undefined`: it looks no rows up. */
  lookup?(n: NodeFacts): Lookup | undefined
  /** It computes with numbers rounded to codes: with values between layers, or with constants alone. Absent: it does not. */
  readonly codes?: 'values' | 'weights'
  readonly grad?: Grad
  /** The node as loops, where all sizes are numbers; `undefined` where the operator has no loops for such a node. */
  loops?(n: NodeView): Loops | undefined
  /**
   * How positions along the axes of inputs and outputs are tied. A position that no link holds must stay. Of links that
   * hold the same position of an input or output only one can be kept; the better come first.
   */
  channels?(n: NodeView): readonly Link[]
  /** The node with one of its ends in another order; `undefined` where it is tied to the order it has, or more would have to be known. */
  permute?(n: NodeFacts, order: Order, at: End): Permuted | undefined
  /** How the constants at its inputs, by position, begin when a model is trained from nothing; absent: as they are. */
  readonly starts?: readonly (Start | undefined)[]
  /** Inputs with one number a channel: the scale of what was normalized, and the running statistics where it has them. */
  readonly normalizes?: { readonly scale: number; readonly mean?: number; readonly variance?: number }
  /** Absent or `undefined`: the same operator as in inference. */
  train?(g: GradBuilder, n: NodeView): TrainForm | undefined
  /**
   * Sets of inputs: the output is multiplied by a > 0 where all inputs of one set are. That holds for each channel by
   * itself where `channels` ties the axes of those inputs with that of the output.
   */
  readonly homogeneous?: readonly (readonly number[])[]
  /** Inputs by which it divides: the output is divided by a where one of them is multiplied by a > 0. */
  readonly divides?: readonly number[]
  /** How often its subgraph runs is not known before. */
  readonly unbounded?: true
  /** Gives its input on at inference. */
  readonly idle?: true
  /** Of its subgraphs one runs, once: its work is that of the heaviest. The attribute of the one, by the truth of the first input. */
  branch?(condition: boolean): string
  /** What its output is at the end of a model: scores of classes, or a description of the input such as an embedding. */
  readonly meaning?: 'scores' | 'features'
  /** The output holds the elements of the first input: in the same order, or moved to other places. */
  readonly elements?: 'inOrder' | 'moved'
  /** Only the order of the elements of its first input counts, at least along one axis. */
  readonly ranks?: true
  /**
   * `single`: in a model that computes in float16 it keeps float32, for want of a float16 form or because it needs the range
   * or the precision. Absent: operators of the default domain have a float16 form, others are not known to; `half` says so.
   */
  readonly precision?: Precision | ((node: Node) => Precision | undefined)
  /**
   * The same with a factor for every axis, where the node names only some of its axes; `undefined` where it names none, or
   * where no factors give the same sizes. `input`: where the factors are read; `attrs`: without the axes.
   */
  everyAxis?(
    n: NodeFacts
  ): { readonly input: number; readonly factors: readonly number[]; readonly attrs: Attrs } | undefined
  /** Results are drawn or carried from outside: never folded, never merged. */
  readonly impure?: true
}
