/** Targets: where a model will live, what is computed there and how, and the facts of operators that conditions are about. Types only. */
import type { DType, Form } from '../types.ts'

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
  /**
   * Of an attention whose past is kept in another way than its kernel keeps it: [batch, length, heads, size], or keys as
   * [batch, heads, size, length].
   */
  readonly past?: 'before heads' | 'keys turned'
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
