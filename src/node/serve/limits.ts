/** What this process may use of the machine: containers limit it to less than there is. */
import { readFileSync } from 'node:fs'
import { availableParallelism, freemem } from 'node:os'
import type { Room } from '../../serve/plan.ts'

const read = (path: string): string | undefined => {
  try {
    return readFileSync(path, 'utf8').trim()
  } catch {
    // Other systems, and containers that hide it, have no such file.
    return undefined
  }
}

/** Cores of a quota: cgroup v2 has `cpu.max` with "quota period" or "max period", v1 two files, −1 for none. */
export function quotaCores(v2: string | undefined, quota: string | undefined, period: string | undefined): number {
  const [most, per] = v2?.split(/\s+/) ?? [quota, period]
  const cores = Number(most) / Number(per)
  return cores > 0 ? cores : Number.POSITIVE_INFINITY
}

/** Bytes that are left of a limit; unlimited ones are `max`, or a number beyond any memory. */
export function leftBytes(most: string | undefined, used: string | undefined): number {
  const left = Number(most) - Number(used ?? 0)
  return Number.isFinite(left) && left > 0 ? left : Number.POSITIVE_INFINITY
}

/** Of this process, now. Node 20 counts the machine's cores whatever the quota. */
export function room(): Room {
  const at = '/sys/fs/cgroup'
  const cores = quotaCores(
    read(`${at}/cpu.max`),
    read(`${at}/cpu/cpu.cfs_quota_us`),
    read(`${at}/cpu/cpu.cfs_period_us`)
  )
  const left = Math.min(
    leftBytes(read(`${at}/memory.max`), read(`${at}/memory.current`)),
    leftBytes(read(`${at}/memory/memory.limit_in_bytes`), read(`${at}/memory/memory.usage_in_bytes`))
  )
  const available = Number(/^MemAvailable:\s+(\d+) kB/m.exec(read('/proc/meminfo') ?? '')?.[1]) * 1024
  return {
    cores: Math.min(availableParallelism(), cores),
    freeBytes: Math.min(left, available || freemem())
  }
}
