/** What a measurement depends on: the machine and the versions. */
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus } from 'node:os'
import type { Report } from '../report/types.ts'
import type { Runner } from '../runtime/types.ts'
import type { Runners } from './runtimes.ts'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly node: string
  /** 8-bit dot products that do not saturate at 16 bits (VNNI, Arm dot product); absent where it cannot be told. */
  readonly vnni?: boolean
}

/** A Report's machine: this one, and the runtimes of a job. */
export function machineOf({ engine, measured }: Runners): Report['machine'] {
  const { vnni: _, ...facts } = machine()
  const named = ({ name, version }: Runner): { name: string; version: string } => ({ name, version })
  return { ...facts, engine: named(engine), ...(measured ? { measured: named(measured) } : {}) }
}

/** The machine that this process runs on. */
export function machine(): Machine {
  const vnni = hasVnni()
  return {
    cpu: cpus()[0]?.model.trim() || process.arch,
    cores: availableParallelism(),
    node: process.versions.node,
    ...(vnni === undefined ? {} : { vnni })
  }
}

/** Linux tells the processor's features in a file; nothing is known elsewhere. */
function hasVnni(): boolean | undefined {
  if (process.platform !== 'linux') return undefined
  let text: string
  try {
    text = readFileSync('/proc/cpuinfo', 'latin1')
  } catch {
    // A container may hide the file; then nothing is known, as on other systems.
    return undefined
  }
  return vnniOf(text)
}

/** Reads the features line of `/proc/cpuinfo`. */
export function vnniOf(cpuinfo: string): boolean | undefined {
  const features = /^(?:flags|Features)\s*:\s*(.*)$/m.exec(cpuinfo)?.[1]?.split(/\s+/)
  return features?.some((f) => f === 'avx512_vnni' || f === 'avx_vnni' || f === 'asimddp')
}
