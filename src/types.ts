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

// ---------------------------------------------------------------- formats and runtimes

/** External weight data that goes beside a model file: its name (relative to the model's folder) and its bytes in order. */
export interface ExternalFile {
  readonly name: string
  readonly parts: readonly Bytes[]
}

/** What a format is told beside its own options when it writes. */
export interface WritePlace {
  /** Put weights into an external file of this name. Absent: only where they do not fit inside, under a name of the format's own. */
  readonly externalName?: string
  /** Where the model will live: what the format can choose, it chooses so that the target takes it. */
  readonly target?: Target
}

export interface Written {
  /** The file's content in order; weights are not copied. */
  readonly parts: readonly Bytes[]
  /** The same in one piece, put together when asked for; a part of a `Blob` as it is. */
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly external?: ExternalFile
  /** What is other than in the model, or worth knowing of the file. */
  readonly notes?: readonly string[]
}

/** A model as it was read. `notes`: what of the file was left behind or not understood. */
export interface Noted {
  readonly model: Model
  readonly notes: readonly string[]
}

export interface ReadOptions {
  /** Gives the bytes of a file beside the model, checked by the caller. */
  external?(name: string): Bytes
  /** What was chosen of the format's `readOptions`. */
  readonly choices?: Readonly<Record<string, unknown>>
}

/** How a format is read. */
export interface Reader {
  /** As targets, reports and `Origin` name it. */
  readonly name: string
  /** As people write it, such as `ONNX`. */
  readonly title: string
  /** Endings of its files, with the dot; outputs get the first. */
  readonly extensions: readonly [string, ...string[]]
  /** Its files tell what the integers of inputs and outputs stand for: data is given to such models as numbers. */
  readonly numbers?: true
  /** Looks at the first bytes of the content only. */
  detect(head: Uint8Array): boolean
  /** What can be chosen when a model is read; flags, help and checks come from it. Absent: nothing. */
  readonly readOptions?: ZodType
  read(bytes: Bytes, o?: ReadOptions): Noted
}

/** Bytes ⇄ Model. */
export interface Format<O = never> extends Reader {
  /** Its files hold no weights: what is read from one has yet to be trained. */
  readonly weightless?: true
  /** Passes that `convert` applies first to a model of another format: it has fewer operators, and knows them joined. */
  readonly after?: readonly string[]
  /** Its files are not read back, as source code is not. */
  readonly unread?: true
  /** What can be chosen when a model is written in it; flags, help and checks come from it. */
  readonly options: ZodType<O>
  /** The model with its constants held as this format's files hold them; absent: as they are. */
  spelled?(model: Model): Model
  /** The operators of a file's main graph in order, in the words that targets name them in; absent: those of the Model. */
  operators?(bytes: Bytes): readonly FileOperator[]
  /** Absent: this format is only read. */
  write?(model: Model, options: O, place?: WritePlace): Written
}

/** A format whatever its options are; what lists hold. */
export type AnyFormat = Format<unknown>

/** The formats and targets that commands know. An argument of every job, so that others can be added to Pare's own. */
export interface Catalog {
  readonly formats: readonly AnyFormat[]
  /** The first is taken where nothing names a target. */
  readonly targets: readonly Target[]
}

export type Source = Model | Bytes | { readonly path: string }

export interface OpenOptions {
  /** Default 1: reproducible and comparable. */
  readonly threads?: number
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all'
  /** Values to return beside the graph's outputs (Model sources only). */
  readonly outputs?: readonly string[]
  /** Keep the engine's optimised graph for `Session.optimized()` and `Session.kernels()`. */
  readonly keepOptimized?: boolean
  /** Record the time of every kernel for `Session.profile()`. */
  readonly profile?: boolean
  /** `asFloat`: QuantizeLinear and DequantizeLinear run as they stand; by default they are fused into integer kernels. */
  readonly quantization?: 'asFloat'
  /** `sleep`: threads without work leave the cores to others; by default they spin, which is faster alone. */
  readonly idleThreads?: 'sleep'
  /** Plan memory after the first run, for speed; on by default. Off, a session holds about half as much. */
  readonly plansMemory?: boolean
}

/** Time of one kernel in one profiled run. `node` is the engine's node name. */
export interface KernelTime {
  readonly node: string
  readonly op: string
  readonly ms: number
}

/** What really runs in place of a node. */
export interface Kernel {
  /** Name of the engine's node, as its profile gives it; absent where there is none. */
  readonly at?: string
  /** The engine's operator, such as `QLinearConv` or `Conv (nchwc)`; `folded` where it became a constant; `'?'` where it cannot be told. */
  readonly kernel: string
  /** Does it compute on integers? False also where it cannot be told. */
  readonly integer: boolean
}

/** A node that was given quantized inputs and is still computed in float. */
export interface FloatIsland {
  readonly node: Node
  readonly kernel: string
  readonly reason: string
}

/** What an engine made of a model. */
export interface Kernels {
  /** By name of the node in the model that was opened; every node of it has an entry, subgraphs included. */
  readonly byNode: ReadonlyMap<string, Kernel>
  readonly islands: readonly FloatIsland[]
  /** Integer kernels by operator of the engine, such as `{ QLinearConv: 9 }`. */
  readonly integer: Readonly<Record<string, number>>
}

export interface Session {
  readonly inputs: readonly { readonly name: string; readonly dtype?: DType; readonly shape?: readonly Dim[] }[]
  readonly outputs: readonly { readonly name: string; readonly dtype?: DType; readonly shape?: readonly Dim[] }[]
  readonly loadMs: number
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>
  /**
   * ms that all runs so far took by the clock of the process that the runtime lives in; absent where that is the caller's
   * own, whose clock tells.
   */
  spentMs?(): number
  /** The engine's graph after its own optimisation; absent without `keepOptimized` and where the engine cannot tell. */
  optimized?(): Promise<Model>
  /** What became of every node; absent without `keepOptimized`, for sources other than a Model, and where the engine cannot tell. */
  kernels?(): Promise<Kernels>
  /** Kernel times of all runs so far; ends recording. Absent without `profile` and where the engine cannot tell. */
  profile?(): Promise<readonly KernelTime[]>
  close(): Promise<void>
}

/** What a runtime can do beside running models. */
export interface Abilities {
  /** It tells what it made of a model: `Session.optimized` and `Session.kernels`. */
  readonly kernels: boolean
  /** It tells the time of every kernel: `Session.profile`. */
  readonly profile: boolean
  /** It opens files by path with the weights beside them, and so models larger than its memory has room for twice. */
  readonly external: boolean
  /** Threads that it computes with at most, however many are asked for; absent: as many as are asked for. */
  readonly threads?: number
  /** Names of the formats whose files it opens as they are; models read from others are handed over in memory. */
  readonly formats: readonly string[]
  /** A file runs at the sizes that stand in it: at others it is another file. */
  readonly fixedSizes?: true
}

/** A runtime. `name`: its package, such as `onnxruntime-node`; what targets call it. */
export interface Runner {
  readonly name: string
  readonly version: string
  readonly can: Abilities
  open(source: Source, o?: OpenOptions): Promise<Session>
}

/**
 * A fact of an operator that conditions are about. `ir/rows.ts` says what each is and how it is read from a node; a format whose
 * operators targets name in its own words reads them from those.
 */
export type Feature =
  | 'alignCorners'
  | 'autoPad'
  | 'axes'
  | 'axis'
  | 'batch'
  | 'beta'
  | 'bias'
  | 'block'
  | 'broadcast'
  | 'ceilMode'
  | 'channels'
  | 'channelsHeight'
  | 'channelsWidth'
  | 'constants'
  | 'coordinates'
  | 'dataZeroPoint'
  | 'depthMultiplier'
  | 'depthwise'
  | 'dilation'
  | 'dilationRatio'
  | 'dtype'
  | 'elements'
  | 'exponent'
  | 'from'
  | 'fused'
  | 'gates'
  | 'groups'
  | 'halfPixel'
  | 'height'
  | 'hidden'
  | 'indices'
  | 'indicesRank'
  | 'inner'
  | 'inputs'
  | 'kernel'
  | 'kernelArea'
  | 'kernelHeight'
  | 'kernelWidth'
  | 'longest'
  | 'masks'
  | 'mode'
  | 'norm'
  | 'openAxes'
  | 'outputChannels'
  | 'outputRank'
  | 'outputs'
  | 'padding'
  | 'pads'
  | 'parameters'
  | 'permutation'
  | 'plane'
  | 'quantized'
  | 'rank'
  | 'reduced'
  | 'reducedLongest'
  | 'runtimeInputs'
  | 'sameScales'
  | 'scale'
  | 'scaleRatio'
  | 'sequence'
  | 'size'
  | 'slope'
  | 'spatial'
  | 'starts'
  | 'steps'
  | 'stride'
  | 'strideArea'
  | 'weight'
  | 'weightScales'
  | 'weightSum'
  | 'weightType'
  | 'weightZeroPoint'
  | 'weightsFormat'
  | 'wideRank'
  | 'width'

/** What is read of a feature. */
export type Fact = number | string | readonly number[]

/** Facts of one operator; `undefined`: not known. */
export type Facts = (feature: Feature) => Fact | undefined

/** An operator of a file, in the words of its format, as targets name it. */
export interface FileOperator {
  /** Its first result. */
  readonly name: string
  readonly op: string
  readonly facts: Facts
  /** Places of the operators whose results it reads, in the file's list. */
  readonly reads: readonly number[]
  /** What it reads and gives, constants left out. */
  readonly values: readonly { readonly name: string; readonly dtype: DType | 'other' }[]
  /** Absent: not known. */
  readonly macs?: number
  /** Bytes of its constants, of what else it reads, and of what it gives; absent: not known. */
  readonly bytes?: { readonly weights: number; readonly reads: number; readonly gives: number }
}

/** What a fact of a node must be; of a list of numbers each must. A fact that is not known does not hold. */
export type Condition = readonly [
  feature: Feature,
  relation: '==' | '!=' | '<=' | '>=' | 'in' | 'multiple',
  value: number | string | readonly (number | string)[]
]

/**
 * An operator that a target computes on integers between DequantizeLinear and QuantizeLinear, and what its kernel asks for.
 * Several rows of one operator are alternatives: the first whose conditions a node meets counts.
 */
export interface IntegerRow {
  /** `domain:Name` outside the default domain. */
  readonly op: string
  readonly when?: readonly Condition[]
  /** Combinations of the types of activations and of constant weights, the preferred first. */
  readonly types: readonly { readonly values: DType; readonly weights?: DType }[]
  /** Scales that a weight may have, symmetric around 0: one for each output channel, one for all. */
  readonly scales?: readonly ('channel' | 'tensor')[]
  /** The zero points of a weight, all 0, must be spelled out. */
  readonly needsZeroPoint?: true
  /** Type of a bias, whose scale is the product of those of data and weight; absent: the kernel adds none. */
  readonly bias?: DType
  /** All that it reads and what it gives must be under one scale and zero point. */
  readonly sameScale?: true
  /** The zero point of what it reads and gives must be 0. */
  readonly symmetric?: true
  /** Its output must be under the scale that divides the operator's bounds into as many steps as there are codes. */
  readonly fixedOutput?: true
  /** The kernel can also give floats. */
  readonly floatOutput?: true
  /** Its kernel is given codes and gives codes: the runtime has no fused form of it between DequantizeLinear and QuantizeLinear. */
  readonly onCodes?: true
  /** Clamps right behind it that become part of the kernel, so that saturation of its codes can do their work. */
  readonly fusesWith?: readonly string[]
}

/** An operator with a form whose activations are quantized at run time, and the types of its weights, the preferred first. */
export interface DynamicRow {
  readonly op: string
  readonly weights: readonly ('int8' | 'uint8')[]
}

/**
 * An operator that stands for several and that a target's runtime has a kernel of. Several rows of one operator are
 * alternatives: the first whose conditions the node to be written meets counts.
 */
export interface FusedRow {
  /** `domain:Name` outside the default domain. */
  readonly op: string
  readonly when?: readonly Condition[]
  /** The runtime replaces them by itself: nothing is gained by writing it. */
  readonly joined?: true
  /** Why the several are not replaced, though the runtime has the kernel. */
  readonly kept?: string
  /** The runtime would replace them by itself: they are spelled so that it does not. */
  readonly prevented?: true
}

/** Where a fact of a device was read; `memory`: common knowledge that nobody looked up. */
export interface Sourced {
  readonly from: 'source' | 'documentation' | 'issue' | 'memory' | 'measured'
  readonly ref?: string
  /** Where it can be read. */
  readonly url?: string
}

/** A multiple that channels of layers should be, by which side of them. A miss costs time, never support. */
export interface Alignment extends Sourced {
  readonly of: 'in' | 'out' | 'both'
  readonly multiple: number
  /** Of layers that compute on this type only. */
  readonly type?: DType
  readonly costs: string
}

/** Memory of a device: what is beyond it costs time, or does not load. */
export interface DeviceMemory extends Sourced {
  readonly holds: 'weights' | 'activations'
  readonly bytes: number
  readonly beyond: string
}

/** Peaks of a device, of which times can be estimated to about a factor of two. */
export interface DeviceRates extends Sourced {
  readonly macsPerSecond: number
  /** Multiply-adds of float layers, where they differ. */
  readonly floatMacsPerSecond?: number
  /** Share of the multiply-adds that a depthwise convolution reaches at best. */
  readonly depthwiseShare?: number
  /** Of what holds activations, and of what holds weights. */
  readonly bytesPerSecond?: number
  readonly weightBytesPerSecond?: number
  /** The configuration that they are of, where a device comes in several. */
  readonly configuration?: string
}

/** Operators that a device takes, by name in the words of the target's format. */
export interface DeviceOperators extends Sourced {
  /** Element types of the data that they take; absent: any. */
  readonly of?: readonly DType[]
  /** `reference`: it computes them with kernels that are written for clarity. */
  readonly kernels?: 'reference'
  /** `true`, or sets of conditions of which one must hold as a whole. */
  readonly take: Readonly<Record<string, true | readonly (readonly Condition[])[]>>
}

/** What a device computes, and what becomes of the rest: facts that are looked at before any work is done. */
export interface Device {
  /** What the facts were read in, with version and date. */
  readonly read: string
  /** Where that is. */
  readonly urls: readonly string[]
  /** `deprecated`: nobody should begin with it; `frozen`: it is no longer developed. */
  readonly status?: 'deprecated' | 'frozen'
  /** Models for it are quantized to this type: those in float are judged as they will be. */
  readonly as?: DType
  /** Element types that go together; one set of conditions must hold. */
  readonly types: readonly (Sourced & { readonly when: readonly Condition[] })[]
  /** What holds for every operator. */
  readonly rules: readonly (Sourced & { readonly when: readonly Condition[] })[]
  readonly operators: readonly DeviceOperators[]
  /** Operators that are named nowhere are taken too: the record holds limits only. Absent: they are not. */
  readonly open?: Sourced & {
    /** Types of data that they are taken with; absent: any. */
    readonly of?: readonly DType[]
  }
  /** Nothing is known of its operators, so that nothing can be told of one that is named nowhere. */
  readonly unlisted?: Sourced
  /** Fast kernels, and what they ask for; an operator that is named and meets no row of its own runs slowly. */
  readonly fast?: readonly (Sourced & {
    readonly op: string
    readonly when: readonly Condition[]
    readonly costs: string
  })[]
  /** What is known to go wrong now and then, so that nothing can be told: operators, or any that meets the conditions. */
  readonly doubtful?: readonly (Sourced & { readonly ops?: readonly string[]; readonly when?: readonly Condition[] })[]
  readonly align?: readonly Alignment[]
  readonly memory?: readonly DeviceMemory[]
  readonly rates?: DeviceRates
  /** Operators that it is known not to have; one that is named nowhere is not taken either. */
  readonly absent?: Sourced & { readonly names: readonly string[] }
  /** What happens to other operators: which run elsewhere, and which parts of the graph still run on the device. */
  readonly rest: Sourced & {
    /** Where they run; absent: the model does not load. */
    readonly to?: string
    /** `first`: the device runs what has only operators of its own before it; `largest`: the largest connected part. */
    readonly parts: 'all' | 'first' | 'largest'
    readonly note?: string
  }
  /** What is worth knowing beside it. */
  readonly notes: readonly (Sourced & { readonly says: string })[]
}

/** Where a model will live, as data. */
export interface Target {
  readonly name: string
  /** Other names that it is known by. */
  readonly aliases?: readonly string[]
  readonly summary: string
  /** Name of the format that models for this target are written in. */
  readonly format: string
  /** Name of the Runner that the target's models run in: what is measured, is measured there. */
  readonly runtime: string
  /** Runners whose kernels tell what this target's runtime fuses, where it cannot tell itself. */
  readonly fusesLike: readonly string[]
  /** Endings of input files that are for this target where no target is named. */
  readonly endings?: readonly string[]
  /** Versions of its format that it loads; of ONNX, opsets. */
  readonly opset: { readonly min: number; readonly max: number }
  /** Operators that it loads, by name (`domain:Name` outside the default domain). */
  readonly operators: 'all' | readonly string[]
  /** Element types of values that it loads. */
  readonly elements: 'all' | readonly DType[]
  /** Operators that it computes on integers; one without a row stays in float. */
  readonly integer: readonly IntegerRow[]
  /** Operators that it can compute on activations quantized at run time. */
  readonly dynamic: readonly DynamicRow[]
  /** Operators that stand for several, such as attention; absent: its runtime has no kernels of them. */
  readonly fused?: readonly FusedRow[]
  /** Operators with float weights that the runtime makes integer by itself between DequantizeLinear and QuantizeLinear. */
  readonly takesOver: readonly string[]
  /** Codes whose DequantizeLinear the runtime moves behind float data movement, so that it cannot open the model. */
  readonly cannotMove: readonly DType[]
  /** Forms of constants that it loads; `auto` stands for any of them. */
  readonly forms: readonly Form[]
  /** u8×s8 pair sums saturate at int16 (x86 without VNNI). */
  readonly saturates: boolean
  /** Its kernels are fastest where the channels of layers are a multiple of this. */
  readonly channelMultiple: number
  /** It means processors with 8-bit dot products (VNNI, Arm dotprod): on an x86 without them its int8 sums saturate. */
  readonly assumesDotProducts: boolean
  /** Absent: it runs all that it loads. */
  readonly device?: Device
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

// ---------------------------------------------------------------- passes

/** JSON: all that a user did can be replayed from it. */
export type Recipe = readonly (readonly [pass: string, options: Readonly<Record<string, unknown>>])[]

export interface Refusal {
  readonly node: string
  readonly op: string
  readonly reason: string
  /** Bytes of its constants that stay in float; absent: none, or not known. */
  readonly bytes?: number
}

/** Told of progress; `total` undefined: unknown. Called often; the receiver throttles. `pace`: where the caller knows better. */
export type Progress = (stage: string, done: number, total: number | undefined, pace?: Pace) => void

/** Of what `done` counts, and the time until all of it is done. */
export interface Pace {
  readonly perSecond: number
  readonly leftMs: number
}

/** What a pass may use; everything it needs, it is given. */
export interface Context {
  /** Folds, calibrates and trains. */
  readonly engine: Runner
  /** The target's own runtime, which scores, times and proves. Absent: not installed or unknown; nothing is timed. */
  readonly measured?: Runner
  readonly data: { readonly calibration?: Dataset; readonly train?: Dataset; readonly selection?: Dataset }
  /** The last model of the recipe that was not rounded to codes: what a rounded one is compared with. */
  readonly reference?: Model
  readonly target: Target
  readonly rng: Rng
  readonly signal: AbortSignal
  readonly progress: Progress
  /** Opens another model, such as a student; absent where there are no files. */
  load?(path: string): Promise<Model>
  /** Applies other passes in the same surroundings; `applyRecipe` brings it. */
  apply?(model: Model, recipe: Recipe): Promise<Model>
  /** Keeps what a long pass has done so far; absent where there is no place for it. */
  readonly checkpoints?: Checkpoints
  /** Compares a model with the one it came from; absent where there are no samples to choose by. */
  measure?(model: Model, what: MeasureOptions): Promise<Comparison>
  refuse(node: Pick<Node, 'name' | 'op'>, reason: string): void
  note(fact: string): void
  /** Plain data on what was decided; shown in the report. */
  plan(data: unknown): void
  /** Passes that do again what this one found by measuring; they stand in its place in the recipe of the report. */
  replay?(recipe: Recipe): void
}

/** States of long passes under keys that tell passes, options, models and data apart. */
export interface Checkpoints {
  /** What was written under a key, where the user asked to go on from it. */
  read(key: string): Promise<Uint8Array | undefined>
  /** All or nothing: at every moment there is the old state or the new one. */
  write(key: string, bytes: Uint8Array): Promise<void>
}

export interface MeasureOptions {
  /** What the model came from. */
  readonly beside: Model
  /** Samples to compare on, at most; all that may choose by default. */
  readonly samples?: number
  /**
   * Constants of the outermost graph, with the biases of their nodes, in which the model differs: only what follows them is
   * run, on the values that `beside` makes before. By default all of the model is run.
   */
  readonly changed?: readonly string[]
  /** Time both, interleaved, for so long; by default they are not timed. */
  readonly seconds?: number
  /** Tell the time of every kernel of the model. */
  readonly kernels?: boolean
}

/** A model beside the one it came from, on the samples that choose. */
export interface Comparison {
  readonly metric: string
  /** How much worse the metric that counts became, paired; positive is worse. */
  readonly drop: Interval
  /** ‖y − r‖² / ‖r‖² of the outputs, mean over samples. */
  readonly error: number
  readonly latency?: Ratio
  /** ms for one sample, by the node at the kernel's heart. */
  readonly kernels?: ReadonlyMap<string, number>
}

/** A part of the data that passes are given. */
export type DataPart = 'calibration' | 'train' | 'selection'

/** What a pass changes: the graph, what is computed on integers, how constants are stored, the error of rounding, the weights, what is computed for which input. */
export type PassGroup = 'graph' | 'pruning' | 'integers' | 'storage' | 'accuracy' | 'training' | 'adaptive'

/** A named, pure Model → Model. Returns the very same object when there was nothing to do. */
export interface Pass<O = never> {
  readonly name: string
  /** A line of help, as a command: `store weights in 8 bits`. */
  readonly summary: string
  /** What users look for when they find it in the help; absent: shown under `other passes`. */
  readonly group?: PassGroup
  /** What it cannot do without of `ctx.data`. */
  readonly needs: readonly DataPart[]
  /** What it makes use of where it is given, beside what it needs. */
  readonly uses: readonly DataPart[]
  /** Passes that its result is better after: the command of a single pass applies them first unless told not to. */
  readonly after: readonly string[]
  /** It compares a quantized model with the float model that it was made from. */
  readonly compares: boolean
  /** It stores weights in fewer bits: what stays in float behind it is listed, with bytes and reason. */
  readonly narrows: boolean
  /** Its result may differ from the model as far as was asked, as one that is to be trained afterwards. */
  readonly lossy: boolean
  /** It promises something by the selection part, which nothing before it may have been fitted to. */
  readonly promises: boolean
  /** An option that names another model, which its command takes in front of its own: the option, and what help calls both. */
  readonly beside?: { readonly option: string; readonly names: readonly [other: string, own: string] }
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
