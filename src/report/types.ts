/** The Report, JSON that every printer reads, and what it is made of. Types only. */
import type { Recipe, Refusal } from '../passes/types.ts'
import type { Condition, Fact, Feature, Sourced } from '../targets/types.ts'
import type { DType, Interval, Measurement, Ratios } from '../types.ts'
import type { SearchReport } from './search.ts'

export type * from './search.ts'

export interface Candidate {
  readonly name: string
  readonly recipe: Recipe
  readonly measurement: Measurement
  readonly ratios: Ratios
  /** On the selection part, before − after in the direction that hurts: positive is worse. */
  readonly drop?: Readonly<Record<string, Interval>>
  readonly chosen: boolean
  /** What keeps it out of the race; absent where it was in it. */
  readonly hindrance?: Hindrance
  readonly why: string
}

/** It loses too much, is slower than the original, is larger, or cannot be made, opened or run. */
export type Hindrance = 'accuracy' | 'speed' | 'bytes' | 'check'

export interface Step {
  readonly pass: string
  readonly options: unknown
  readonly plan?: unknown
  readonly ms: number
  /** Nodes, and bytes of the file that the model would be written to; of its constants where nothing writes. */
  readonly before: { readonly nodes: number; readonly bytes: number }
  readonly after: { readonly nodes: number; readonly bytes: number }
}

/** Values of a tensor beside what its codes can stand for. Shares are of all values that were looked at. */
export interface Coverage {
  /** Type of the codes. */
  readonly dtype: DType
  /** Least and greatest value before rounding. */
  readonly range: { readonly min: number; readonly max: number }
  /** What the lowest and the highest code stand for; over all channels where each has its own. */
  readonly covered: { readonly low: number; readonly high: number }
  /** Share at the lowest and at the highest code. Behind a Relu the lowest is 0, and no loss. */
  readonly saturation: { readonly low: number; readonly high: number }
  /** Share cut off: outside of what is covered by more than half a step. */
  readonly clipped?: number
  /** Shares in equal parts of the codes, lowest first. */
  readonly codes: readonly number[]
}

/** One layer of the original model and what became of it. `kernel`: what the runtime really ran. */
export interface Layer {
  readonly node: string
  readonly op: string
  /** The operator as people speak of it, such as `Conv 1×1` or `Conv depthwise`. */
  readonly kind?: string
  readonly dtype?: DType
  readonly kernel?: string
  /** 20·log10(‖x‖/‖x−y‖) with only this layer's own change. Higher is better. */
  readonly sqnrDb?: number
  /** The same, with all changes before it. */
  readonly accumulatedSqnrDb?: number
  /** The same at the model's output, with all other layers as in the original. */
  readonly outputSqnrDb?: number
  /** The output's values, where it is rounded to codes. */
  readonly activation?: Coverage
  /** The weight's values, where it is stored in codes. */
  readonly weight?: Coverage
  readonly bytes?: number
  readonly macs?: number
  readonly ms?: number
}

/** One output of a model in two engines. `difference`: the largest |a − b| relative to the largest |a|. */
export interface EngineOutput {
  readonly name: string
  readonly difference: number
  readonly sqnrDb?: number
  /** Share of samples with the same greatest score, for outputs of class scores. */
  readonly agreement?: number
}

/** A model in two engines. */
export interface EngineModel {
  readonly model: 'original' | 'compressed'
  readonly tolerance: number
  readonly outputs: readonly EngineOutput[]
  readonly agrees: boolean
  /** The first layer that differs by more than the tolerance; absent where none does while its value is watched. */
  readonly first?: { readonly node: string; readonly op: string; readonly value: string; readonly difference: number }
  /** Why it was not compared: the engine that failed, and its message. */
  readonly failed?: { readonly engine: string; readonly reason: string }
}

/** The same models and samples in two engines. */
export interface Engines {
  readonly names: readonly [string, string]
  readonly n: number
  readonly models: readonly EngineModel[]
}

/** A file of a family in one engine, on the samples that it was checked on. */
export interface FamilyRun {
  readonly engine: string
  readonly version: string
  /** 20·log10(‖y‖/‖y−z‖) against the original in the same engine, of the worst output; absent where there is none. */
  readonly sqnrDb?: number
  readonly outputs: readonly { readonly name: string; readonly sqnrDb?: number }[]
  /** Why it does not run as the original does. */
  readonly failed?: string
}

/** One model in one type, in a file named as a library asks for it. */
export interface FamilyFile {
  /** The original's file name without its ending. */
  readonly model: string
  readonly dtype: string
  readonly path: string
  /** Weights beside it included. */
  readonly bytes?: number
  readonly sha256?: string
  /** Bytes against the original's. */
  readonly ratio?: number
  readonly recipe: Recipe
  readonly runs: readonly FamilyRun[]
  readonly refusals: readonly Refusal[]
  readonly notes: readonly string[]
  /** Why it was not written. */
  readonly failed?: string
}

/** Files that a library loads by name, made of all models of a folder. */
export interface Family {
  readonly preset: string
  readonly folder: string
  readonly samples: number
  readonly files: readonly FamilyFile[]
}

/** A runtime's package and its version. */
export interface RuntimeVersion {
  readonly name: string
  readonly version: string
}

/** One score a sample, in base64: a bit each, lowest first, where they are 0 or 1, else float32, little-endian. */
export interface SampleScores {
  readonly scale: 'binary' | 'real'
  readonly better: 'higher' | 'lower'
  readonly n: number
  readonly data: string
}

/** One quantity of the compressed model against the one of an earlier report. */
export interface GateRow {
  /** A metric's name, `bytes` or `latency`. */
  readonly what: string
  /** `ratio`: before and after are ratios to the original. */
  readonly kind: 'metric' | 'bytes' | 'ratio'
  readonly before?: number
  readonly after?: number
  /** How much worse, positive is worse: of a metric the drop, else the growth as a fraction. `paired`: by sample. */
  readonly change?: { readonly value: number; readonly low: number; readonly high: number; readonly paired?: boolean }
  /** The most that `change` may be, where something was asked. */
  readonly bound?: number
  /** `same`: the interval of the change holds none at all. */
  readonly verdict: 'worse' | 'better' | 'same' | 'unknown'
  /** Beyond the bound, or bound and unknown. */
  readonly failed: boolean
  /** Why it is unknown. */
  readonly why?: string
}

/** What got worse since an earlier report. */
export interface Gate {
  /** What the earlier report is called. */
  readonly baseline: string
  readonly rows: readonly GateRow[]
  readonly failed: boolean
  readonly notes: readonly string[]
}

/** Why an operator has its verdict, and where that was read. */
export interface Reason extends Partial<Sourced> {
  readonly says: string
  /** The condition that is not met, or whose fact is not known. */
  readonly feature?: Feature
  readonly relation?: Condition[1]
  readonly want?: Condition[2]
  readonly have?: Fact
}

/**
 * What becomes of an operator on a device. `slow`: it has kernels written for clarity. `elsewhere`: it runs outside of the device.
 * `behind`: it would run on the device by itself, and does not in this graph. `blocks`: the model does not load.
 */
export interface OperatorVerdict {
  readonly name: string
  readonly op: string
  readonly verdict: 'runs' | 'slow' | 'elsewhere' | 'behind' | 'blocks' | 'unknown'
  readonly reasons: readonly Reason[]
  readonly macs?: number
}

/** What could be changed in a model so that a device takes more of it, or computes it faster, and the rule that says so. */
export interface Change {
  /** `replace GELU by HARD_SWISH`, `30 channels → 32` */
  readonly what: string
  readonly op: string
  readonly names: readonly string[]
  readonly why: Reason
}

/** What becomes of every operator of a model on a device, before any work is done. */
export interface Preflight {
  readonly target: string
  /** What the facts about the device were read in. */
  readonly read: string
  /** Where that is. */
  readonly urls: readonly string[]
  /** The type that data was taken to have, where the model is not quantized yet. */
  readonly as?: DType
  readonly operators: readonly OperatorVerdict[]
  /** Runs of operators, in the order of the file, that the device would take. */
  readonly parts: number
  /** Kinds of operators that it does not take, with how many operators it would run if it took them. */
  readonly gains: readonly { readonly op: string; readonly operators: number }[]
  readonly changes: readonly Change[]
  /** Of the device's memories, those that are known, with the bytes that this model would put there. */
  readonly memory: readonly (Reason & { readonly needs: number; readonly has: number })[]
  /** By the rates of the device, of what runs on it: a figure to rank by, within a factor of two at best. */
  readonly estimate?: { readonly ms: number; readonly configuration?: string }
  /** Of the multiply-adds, on the device; absent: not known. */
  readonly share?: number
  /** Where other operators run; absent: nowhere. */
  readonly elsewhere?: string
  readonly notes: readonly Reason[]
}

/** A stage of a model that answers easy samples early. */
export interface StageFacts {
  readonly name: string
  /** Of the samples, those that it answers. */
  readonly share: number
  /** The same where the threshold was chosen. */
  readonly expected: number
  /** Of a sample that leaves here, all stages before included; absent: not measured, or not known. */
  readonly ms?: number
  readonly macs?: number
}

/** A threshold, and what all samples together come to at it. */
export interface StagePoint {
  readonly threshold: number
  /** Of the samples, those that the last stage answers. */
  readonly share: number
  /** Mean of the metric. */
  readonly score: number
  /** Mean of a sample. */
  readonly ms?: number
  readonly macs?: number
}

/** What a model that answers easy samples early does with samples that its threshold was not chosen on. */
export interface Stages {
  readonly kind: 'cascade' | 'early-exit'
  readonly n: number
  readonly metric: 'top1' | 'agreement'
  readonly stages: readonly StageFacts[]
  readonly guarantee: {
    readonly kind: 'disagreement' | 'drop'
    readonly most: number
    readonly risk: number
    readonly n: number
  }
  /** Answers other than the last stage's. */
  readonly changed: Interval
  /** Right answers lost against the last stage; positive is worse. */
  readonly lost?: Interval
  /** As the model is: at its threshold. */
  readonly chosen: StagePoint
  /** From the last stage alone to the first alone; samples dealt at random would lie on the line between these two. */
  readonly curve: readonly StagePoint[]
  /** Of the original, timed beside. */
  readonly originalMs?: number
}

/** What a federation did and what it sent. Bytes are those of whole messages to or from all clients of all rounds. */
export interface Federation {
  /** All that the rounds did: `--recipe` does them again. */
  readonly recipe: unknown
  readonly rounds: number
  readonly clientsPerRound: number
  readonly clients: {
    readonly count: number
    /** Samples of the client with the fewest, and with the most. */
    readonly smallest: number
    readonly largest: number
    /** Mean over the clients of half the sum of |share of a class there − share of it in all|. */
    readonly variation: number
  }
  /** Training steps of all clients together. */
  readonly steps: number
  /** Updates that were not taken. */
  readonly refused: number
  readonly bytes: {
    readonly up: number
    /** Without headers and hashes. */
    readonly upPayload: number
    readonly down: number
    readonly downPayload: number
    /** What floats alone would take, one way. */
    readonly floats: number
  }
  /** Class scores of public samples, that clients sent up behind the last round and a student learned from. */
  readonly distilled?: { readonly clients: number; readonly samples: number; readonly up: number }
  /** Mean accuracy of those of the last ten rounds that were looked at. */
  readonly lastRounds?: { readonly n: number; readonly top1: number }
}

export interface Report {
  readonly pare: string
  readonly reportVersion: 1
  readonly command: string
  readonly model: { readonly path: string; readonly sha256: string; readonly format?: string }
  readonly output?: { readonly path: string; readonly sha256: string; readonly format?: string }
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
  /** `verify`: scores of the compressed model by metric, for later reports to be compared with by sample. */
  readonly scores?: Readonly<Record<string, SampleScores>>
  readonly gate?: Gate
  readonly agreement?: { readonly value: number; readonly n: number }
  readonly constraint?: { readonly metric: string; readonly maxDrop: number; readonly met: boolean }
  /** `search`: its runs, how they compare, and what was looked at. */
  readonly search?: SearchReport
  readonly candidates: readonly Candidate[]
  readonly steps: readonly Step[]
  readonly refusals: readonly Refusal[]
  readonly notes: readonly string[]
  readonly curves: Readonly<Record<string, readonly (readonly [x: number, y: number])[]>>
  readonly layers: readonly Layer[]
  readonly engines?: Engines
  /** `inspect --target`: what becomes of the operators there. */
  readonly preflight?: Preflight
  readonly family?: Family
  /** Of a model that answers easy samples early. */
  readonly stages?: Stages
  readonly federation?: Federation
  readonly recipe: Recipe
  readonly machine: {
    readonly cpu: string
    readonly cores: number
    readonly node: string
    /** What folded, calibrated and trained. */
    readonly engine: RuntimeVersion
    /** What scored and timed: the target's own runtime. Absent: it was not here, the engine scored, nothing was timed. */
    readonly measured?: RuntimeVersion
    /** What scored and timed the second model of a comparison, where that is another. */
    readonly other?: RuntimeVersion
  }
}
