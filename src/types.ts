/**
 * The nouns of Pare that every room speaks of, types only: tensors, graphs, models, data, metrics, intervals. Everything is plain,
 * deeply readonly data or an interface. The concept of a room is in its own `types.ts`; docs/architecture.md lists them.
 */

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

/** What a file says of a node, graph or value beside what it computes: documentation, and metadata as pairs of key and text. */
export interface Remarks {
  readonly doc?: string
  readonly facts?: readonly (readonly [key: string, text: string])[]
}

/** A node's output, a graph input, or a constant (`data`). Ids are unique in a graph and its subgraphs. */
export interface Value extends ValueType {
  readonly id: string
  readonly data?: Tensor
  readonly form?: Form
  /** The zeros of this constant are meant: passes keep them. */
  readonly sparse?: 'any' | '2:4' | '4:8' | '1x4' | '4x1' | '1x16' | '4x4'
  /** Kept of inputs and outputs of graphs. */
  readonly remarks?: Remarks
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

/** What `attrs` takes: whole numbers are ints, `float(x)` a float, arrays of numbers ints. */
export type AttrInput = number | string | readonly number[] | readonly string[] | Attr

/** One operator call. `null` in `inputs` is an input left out; `''` in `outputs` an output left out. */
export interface Node {
  readonly name: string
  readonly op: string
  /** Absent: the default ONNX domain. */
  readonly domain?: string
  readonly inputs: readonly (string | null)[]
  readonly outputs: readonly string[]
  readonly attrs: Attrs
  readonly remarks?: Remarks
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
  readonly remarks?: Remarks
}

/** A named way to call a model: its own names of inputs and outputs, and the ids that they stand for. */
export interface Signature {
  readonly name: string
  readonly inputs: Readonly<Record<string, string>>
  readonly outputs: Readonly<Record<string, string>>
}

/** Where a model came from. */
export interface Origin {
  /** Name of the format that it was read in. */
  readonly format: string
  /** Version of that format in the file, as the format counts: of ONNX, the opset. */
  readonly version?: number | string
  /** What else the file's header says, under names of the format's own; the same format writes it again. */
  readonly header?: Readonly<Record<string, string>>
  /** Shapes of inputs and outputs with free sizes, as the file names those: they are written under the same names again. */
  readonly shapes?: Readonly<Record<string, readonly Dim[]>>
  /** Ways to call it that the file names. */
  readonly signatures?: readonly Signature[]
  /** Other content of the file by name, carried through unread. */
  readonly attachments?: Readonly<Record<string, Uint8Array>>
  /** Parts of the file that are not in the model, by names of the format's own; the same format writes them again. */
  readonly parts?: Readonly<Record<string, Uint8Array>>
  /** The file is code: one node stands for all that it computes, and only its own runtime runs it. */
  readonly compiled?: true
  /** The file held no weights: the constants of the model were drawn. */
  readonly untrained?: true
}

/** `opset` is the default domain's; `domains` the others'. `meta`: the file's own metadata. `origin` absent: made, not read. */
export interface Model {
  readonly graph: Graph
  readonly opset: number
  readonly domains: Readonly<Record<string, number>>
  readonly meta: Readonly<Record<string, string | Uint8Array>>
  readonly origin?: Origin
}

// ---------------------------------------------------------------- data and metrics

export interface Batch {
  /** Samples in this batch: the first axis of every input. */
  readonly n: number
  readonly inputs: Readonly<Record<string, Tensor>>
  /** Class indices, one per sample. */
  readonly labels?: readonly number[]
  /** Inputs of which a sample is a sequence: behind the samples' axis they have one of steps, and states are fed back. */
  readonly stepped?: readonly string[]
}

/** A source of samples with a stable order. `batches` may be called many times; `indices` picks and orders samples. */
export interface Dataset {
  readonly size: number
  readonly labelled: boolean
  /** Identity of the content, for the report. */
  readonly sha256?: string
  /** How samples are read where the user did not say it, for the report. */
  readonly notes?: readonly string[]
  /** Positions of each sample (tokens of a text), where samples differ in them: one of median length stands for all in times and work. */
  readonly lengths?: readonly number[]
  /** Samples are sequences, over which a model's states are fed back. */
  readonly isStepped?: boolean
  /** Tokens that texts do not tell of: marks such as those of padding, and the one that stands for all that is unknown. */
  readonly marks?: { readonly ids: readonly number[]; readonly unknown?: number }
  /** Of at most `batch` samples each, as many as are asked for where samples are alike in length. */
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
  /** The same of parts of the outputs, named by them, where the score is that of the worst. */
  readonly parts?: readonly Metric[]
}

// ---------------------------------------------------------------- progress

/** Told of progress; `total` undefined: unknown. Called often; the receiver throttles. `pace`: where the caller knows better. */
export type Progress = (stage: string, done: number, total: number | undefined, pace?: Pace) => void

/** Of what `done` counts, and the time until all of it is done. */
export interface Pace {
  readonly perSecond: number
  readonly leftMs: number
}

// ---------------------------------------------------------------- measurements

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
  /** Time of one sample by a cost model. */
  readonly predictedMs?: number
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
