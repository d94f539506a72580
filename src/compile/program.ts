/** What printers print: routines over one memory, its constants, and where inputs and outputs lie. */
import type { Routine } from '../ir/loops.ts'
import type { DType } from '../types.ts'
import type { Chosen } from './kernels/tiles.ts'

/** An input or output of a program. */
export interface Port {
  readonly name: string
  /** As the model names it; 64-bit whole numbers lie in memory as 32-bit ones. */
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Byte offset among the values. */
  readonly offset: number
}

/** What computes outputs from inputs of some sizes. */
export interface Run {
  readonly routines: readonly Routine[]
  /** How the work of each routine is cut; absent: there is one way. */
  readonly kernels: readonly (Chosen | undefined)[]
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
}

export interface Program extends Run {
  /** The same network for other sizes of its inputs, over the same memory. */
  readonly others: readonly Run[]
  /** What runs once, before the first run. */
  readonly init: readonly Routine[]
  readonly constants: Uint8Array
  /** Bytes for values while it runs, and what they would take if none shared any. */
  readonly arena: number
  readonly unshared: number
}
