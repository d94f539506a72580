/**
 * The concepts of Pare, types only. Everything here is plain, deeply readonly data or an interface;
 * functions on these nouns live in the rooms beside this file (see docs/architecture.md).
 */
import type { ZodType } from 'zod'
import type { Rng } from './base/random.ts'

// ---------------------------------------------------------------- tensors and values

/** Element types, named as in ONNX (lower case). Sub-byte types are packed, first element in the low bits. */
export type DType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'bfloat16'
  | 'float8e4m3fn'
  | 'float8e4m3fnuz'
  | 'float8e5m2'
  | 'float8e5m2fnuz'
  | 'float8e8m0'
  | 'float4e2m1'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'int4'
  | 'int2'
  | 'uint64'
  | 'uint32'
  | 'uint16'
  | 'uint8'
  | 'uint4'
  | 'uint2'
  | 'bool'
  | 'string'
  | 'complex64'
  | 'complex128'

/**
 * A run of bytes that may live in memory or in a file. A `Uint8Array` is one. What `slice` returns must not be
 * written to. Backed by a file, every `slice` reads again: ask once, keep what you need.
 */
export interface Bytes {
  readonly length: number
  slice(from?: number, to?: number): Uint8Array
}

/** A constant array: little-endian, row-major, packed below one byte per element. Strings sit in `strings`. */
export interface Tensor {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly bytes: Bytes
  readonly strings?: readonly string[]
}

/** A number, a symbol such as `"N"`, a symbolic product or sum such as `"4*N"`, or `"?"`: unknown, equal to nothing. */
export type Dim = number | string

/** What is known of a value. `shape` absent: even the rank is unknown. `of`: element type of a sequence or optional. */
export interface ValueType {
  readonly type: 'tensor' | 'sequence' | 'optional' | 'opaque'
  readonly dtype?: DType
  readonly shape?: readonly Dim[]
  readonly of?: ValueType
  /** `opaque` only: the type as the format spelled it, carried through unread. */
  readonly raw?: Uint8Array
}

/** How a constant is spelled in a file; a lossless encoding that only a format's writer expands into nodes. */
export type Form = 'plain' | 'foldable' | 'palette' | 'gap' | 'bitmap' | 'blocks' | 'qdq' | 'nbits' | 'auto'

/** A node's output, a graph input, or a constant (`data`). Ids are unique in a graph and its subgraphs. */
export interface Value extends ValueType {
  readonly id: string
  readonly data?: Tensor
  readonly form?: Form
  /** The zeros of this constant are meant: passes keep them. */
  readonly sparse?: 'any' | '2:4' | '1x4' | '1x16' | '4x4'
}

// ---------------------------------------------------------------- graphs and models

/** A node attribute. The kind is kept, so that writing what was read is the identity. */
export type Attr =
  | { readonly kind: 'int'; readonly value: number }
  | { readonly kind: 'float'; readonly value: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'ints'; readonly value: readonly number[] }
  | { readonly kind: 'floats'; readonly value: readonly number[] }
  | { readonly kind: 'strings'; readonly value: readonly string[] }
  | { readonly kind: 'tensor'; readonly value: Tensor }
  | { readonly kind: 'tensors'; readonly value: readonly Tensor[] }
  | { readonly kind: 'graph'; readonly value: Graph }
  | { readonly kind: 'graphs'; readonly value: readonly Graph[] }
  | { readonly kind: 'type'; readonly value: ValueType }
  /** Anything else, as the format spelled it. */
  | { readonly kind: 'raw'; readonly value: Uint8Array }
export type Attrs = Readonly<Record<string, Attr>>

/** One operator call. `null` in `inputs` is an input left out; `''` in `outputs` an output left out. */
export interface Node {
  readonly name: string
  readonly op: string
  /** Absent: the default ONNX domain. */
  readonly domain?: string
  readonly inputs: readonly (string | null)[]
  readonly outputs: readonly string[]
  readonly attrs: Attrs
}

/**
 * Nodes in topological order over a flat table of values. A subgraph (in an attribute of If, Loop, Scan) reads values
 * of the graphs around it by id; its own table holds only its own. An input with `data` is an overridable default.
 */
export interface Graph {
  readonly name: string
  readonly inputs: readonly string[]
  readonly outputs: readonly string[]
  readonly nodes: readonly Node[]
  readonly values: ReadonlyMap<string, Value>
}

/** `opset` is the default domain's; `domains` the others'. `meta`: the file's own metadata, and `onnx.*` for header fields. */
export interface Model {
  readonly graph: Graph
  readonly opset: number
  readonly domains: Readonly<Record<string, number>>
  readonly meta: Readonly<Record<string, string | Uint8Array>>
}

// ---------------------------------------------------------------- operators

/** A type as inference sees it: with the value where it is constant, or symbolic where it is a small integer vector. */
export interface Known extends ValueType {
  readonly data?: Tensor
  /** Elements of an integer tensor of rank 0 or 1 as far as known (shape arithmetic). */
  readonly content?: readonly Dim[]
}

/** A node with all that is known around it; what every facet of an operator is given. */
export interface NodeView {
  readonly node: Node
  /** Version of the node's own domain. */
  readonly opset: number
  /** One per input, `undefined` where left out or unknown. */
  readonly inputs: readonly (Known | undefined)[]
  /** One per output; empty while inferring. */
  readonly outputs: readonly (Known | undefined)[]
  /** Types of a subgraph's outputs, given those of its inputs. */
  inferGraph(graph: Graph, inputs: readonly (Known | undefined)[]): readonly (Known | undefined)[]
}

/** Work of one node; `undefined` where it cannot be known. `macs`: multiply-accumulates. */
export interface Cost {
  readonly macs: number | undefined
}

/**
 * How an operator is quantized. `inputs`: the positions that become integers. `weights`: the position of the weight
 * and its output-channel axis, per channel. `bias`: the position of an int32 bias. `output`: `own` range, `same` as the
 * input's (data movement), or `fixed` scale and zero point. `clamp`: the operator only clamps, and saturation of its
 * producer's output can take its place.
 */
export interface QuantRule {
  readonly inputs: readonly number[]
  readonly weights?: { readonly input: number; axis(node: Node): number }
  readonly bias?: number
  readonly output: 'own' | 'same' | { readonly scale: number; readonly zeroPoint: number }
  /** Lower and upper bound of the output where the operator clamps (Relu, Clip); infinite where open. */
  clamp?(n: NodeView): { readonly low: number; readonly high: number } | undefined
}

/** Everything Pare knows about an operator. An absent facet means unknown, and is reported as such. */
export interface Op {
  readonly name: string
  /** Absent: the default ONNX domain. */
  readonly domain?: string
  /** Types of the outputs; `undefined` where unknown. Throws `E_SHAPE` when the inputs contradict each other. */
  infer(n: NodeView): readonly (Known | undefined)[]
  cost?(n: NodeView): Cost
  readonly quant?: QuantRule
  /** Results are drawn or carried from outside: never folded, never merged. */
  readonly impure?: true
}

// ---------------------------------------------------------------- formats and runtimes

/** External weight data that goes beside a model file: its name (relative to the model's folder) and its bytes in order. */
export interface ExternalFile {
  readonly name: string
  readonly parts: readonly Bytes[]
}

export interface WriteOptions {
  /** Put weights above 1 kB into an external file of this name; by default only near protobuf's 2 GB limit. */
  readonly externalName?: string
}

export interface Written {
  readonly bytes: Uint8Array
  readonly external?: ExternalFile
}

/** Bytes ⇄ Model. `detect` looks at content only. `external` gives the bytes of a file beside the model, checked by the caller. */
export interface Format {
  readonly name: string
  readonly extensions: readonly string[]
  detect(head: Uint8Array): boolean
  read(bytes: Bytes, o?: { external?(name: string): Bytes }): Model
  write(model: Model, o?: WriteOptions): Written
}

export type Source = Model | Bytes | { readonly path: string }

export interface OpenOptions {
  /** Default 1: reproducible and comparable. */
  readonly threads?: number
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all'
  /** Values to return beside the graph's outputs (Model sources only). */
  readonly outputs?: readonly string[]
  /** Keep the engine's optimised graph for `Session.optimized()`. */
  readonly keepOptimized?: boolean
  /** Record the time of every kernel for `Session.profile()`. */
  readonly profile?: boolean
  /** Raw configuration entries of the engine, such as `session.disable_quant_qdq`. */
  readonly extra?: Readonly<Record<string, string>>
}

/** Time of one kernel in one profiled run. `node` is the engine's node name. */
export interface KernelTime {
  readonly node: string
  readonly op: string
  readonly ms: number
}

export interface Session {
  readonly inputs: readonly { readonly name: string; readonly dtype?: DType; readonly shape?: readonly Dim[] }[]
  readonly outputs: readonly { readonly name: string; readonly dtype?: DType; readonly shape?: readonly Dim[] }[]
  readonly loadMs: number
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>
  /** The engine's graph after its own optimisation, as a Model (needs `keepOptimized`). */
  optimized(): Promise<Model>
  /** Kernel times of all runs so far; ends recording (needs `profile`). */
  profile(): Promise<readonly KernelTime[]>
  close(): Promise<void>
}

export interface Runner {
  readonly name: string
  readonly version: string
  open(source: Source, o?: OpenOptions): Promise<Session>
}

/** Where a model will live, as data. */
export interface Target {
  readonly name: string
  readonly summary: string
  readonly format: string
  readonly opset: { readonly min: number; readonly max: number }
  /** Operators with integer kernels that the runtime fuses from QDQ, by name (`domain:Name` outside the default domain). */
  readonly integerOps: readonly string[]
  /** Forms of constants that this target can load. */
  readonly forms: readonly Form[]
  /** Types it computes in at full speed; other candidates are tried only for size. */
  readonly dtypes: readonly DType[]
  /** u8×s8 pair sums saturate at int16 (x86 without VNNI). */
  readonly saturates: boolean
}

// ---------------------------------------------------------------- data and metrics

export interface Batch {
  /** Samples in this batch: the first axis of every input. */
  readonly n: number
  readonly inputs: Readonly<Record<string, Tensor>>
  /** Class indices, one per sample. */
  readonly labels?: readonly number[]
}

/** A source of samples with a stable order. `batches` may be called many times; `indices` picks and orders samples. */
export interface Dataset {
  readonly size: number
  readonly labelled: boolean
  /** Identity of the content, for the report. */
  readonly sha256?: string
  batches(o: { readonly batch: number; readonly indices?: readonly number[] }): AsyncIterable<Batch>
}

/** How the values of a metric compare: `higher` is better (accuracy) or `lower` (error). */
export interface Metric {
  readonly name: string
  readonly better: 'higher' | 'lower'
  readonly needs: { readonly labels: boolean; readonly reference: boolean }
  /** Is each sample's score 0 or 1 (intervals by Wilson and paired flips) or a number (by the normal approximation)? */
  readonly scale: 'binary' | 'real'
  /** One score per sample. `reference`: outputs of the original model on the same batch. */
  scores(
    outputs: Readonly<Record<string, Tensor>>,
    batch: Batch,
    reference?: Readonly<Record<string, Tensor>>
  ): readonly number[]
}

// ---------------------------------------------------------------- passes

/** JSON: all that a user did can be replayed from it. */
export type Recipe = readonly (readonly [pass: string, options: Readonly<Record<string, unknown>>])[]

export interface Refusal {
  readonly node: string
  readonly op: string
  readonly reason: string
}

export interface Progress {
  /** `total` undefined: unknown. Called often; the receiver throttles. */
  (stage: string, done: number, total: number | undefined): void
}

/** What a pass may use; everything it needs, it is given. */
export interface Context {
  readonly runner: Runner
  readonly data: { readonly calibration?: Dataset; readonly train?: Dataset; readonly selection?: Dataset }
  readonly target: Target
  readonly rng: Rng
  readonly signal: AbortSignal
  readonly progress: Progress
  refuse(node: Pick<Node, 'name' | 'op'>, reason: string): void
  note(fact: string): void
  /** Plain data on what was decided; shown in the report. */
  plan(data: unknown): void
}

/** A named, pure Model → Model. Returns the very same object when there was nothing to do. */
export interface Pass<O = never> {
  readonly name: string
  readonly summary: string
  /** What it needs of `ctx.data`. */
  readonly needs: readonly ('calibration' | 'train' | 'selection')[]
  readonly options: ZodType<O>
  run(model: Model, options: O, ctx: Context): Promise<Model>
}

// ---------------------------------------------------------------- measurements and report

/** A value with its 95 % interval over `n` samples. */
export interface Interval {
  readonly value: number
  readonly low: number
  readonly high: number
  readonly n: number
}

export interface Latency {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly n: number
}

/** Plain numbers; a fact that was not or cannot be measured is absent. Rates are fractions, sizes bytes, times ms. */
export interface Measurement {
  readonly bytes: number
  readonly gzipBytes?: number
  readonly brotliBytes?: number
  readonly parameters?: number
  readonly nonzeroParameters?: number
  /** For one sample. `'?'`: a node's cost is unknown. */
  readonly macs?: number | '?'
  readonly metrics: Readonly<Record<string, Interval>>
  readonly latencyMs?: Latency
  readonly loadMs?: number
  readonly peakBytes?: number
}

/** after / before, each pair measured in one interleaved run. `low`, `high`: 95 % interval of the median. */
export interface Ratio {
  readonly median: number
  readonly low: number
  readonly high: number
}

export interface Ratios {
  readonly bytes: number
  readonly latency?: Ratio
  readonly loadMs?: number
  readonly peakBytes?: number
}

export interface Candidate {
  readonly name: string
  readonly recipe: Recipe
  readonly measurement: Measurement
  readonly ratios: Ratios
  /** On the selection part, before − after in the direction that hurts: positive is worse. */
  readonly drop?: Readonly<Record<string, Interval>>
  readonly chosen: boolean
  readonly why: string
}

export interface Step {
  readonly pass: string
  readonly options: unknown
  readonly plan?: unknown
  readonly ms: number
  readonly before: { readonly nodes: number; readonly bytes: number }
  readonly after: { readonly nodes: number; readonly bytes: number }
}

/** One layer of the original model and what became of it. `kernel`: what the runtime really ran. */
export interface Layer {
  readonly node: string
  readonly op: string
  readonly dtype?: DType
  readonly kernel?: string
  /** 20·log10(‖x‖/‖x−y‖) with only this layer's own change. Higher is better. */
  readonly sqnrDb?: number
  /** The same, with all changes before it. */
  readonly accumulatedSqnrDb?: number
  readonly bytes?: number
  readonly macs?: number
  readonly ms?: number
}

export interface Report {
  readonly pare: string
  readonly reportVersion: 1
  readonly command: string
  readonly model: { readonly path: string; readonly sha256: string }
  readonly output?: { readonly path: string; readonly sha256: string }
  readonly target: string
  readonly seed: number
  readonly threads: number
  readonly objective?: string
  readonly data?: {
    readonly path: string
    readonly sha256?: string
    readonly calibrationN: number
    readonly selectionN: number
    readonly testN: number
    readonly synthetic: boolean
  }
  readonly before: Measurement
  readonly after?: Measurement
  readonly ratios?: Ratios
  /** On the test part: how much worse, positive is worse; paired. */
  readonly drop?: Readonly<Record<string, Interval>>
  readonly agreement?: { readonly value: number; readonly n: number }
  readonly constraint?: { readonly metric: string; readonly maxDrop: number; readonly met: boolean }
  readonly candidates: readonly Candidate[]
  readonly steps: readonly Step[]
  readonly refusals: readonly Refusal[]
  readonly notes: readonly string[]
  readonly curves: Readonly<Record<string, readonly (readonly [x: number, y: number])[]>>
  readonly layers: readonly Layer[]
  readonly recipe: Recipe
  readonly machine: {
    readonly cpu: string
    readonly cores: number
    readonly node: string
    readonly onnxruntime: string
  }
}
