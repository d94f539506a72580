/** Checkpoints of long passes as files beside the output: `OUT.KEY.checkpoint`. */
import { existsSync, rmSync } from 'node:fs'
import { toArray } from '../base/bytes.ts'
import type { Checkpoints } from '../passes/types.ts'
import { fileBytes, writeAtomic } from './files.ts'

/** Checkpoints of one job. */
export interface CheckpointFiles extends Checkpoints {
  /** Was any found? */
  found(): boolean
  /** Removes those of this job, once its result is written. */
  clear(): void
}

/** Checkpoints beside an output. Without `resume` none is read, and a new one takes an old one's place. */
export function checkpointsBeside(out: string, o: { readonly resume: boolean }): CheckpointFiles {
  const used = new Set<string>()
  let isFound = false
  const pathOf = (key: string): string => `${out}.${key}.checkpoint`
  return {
    found: () => isFound,
    read: async (key) => {
      const path = pathOf(key)
      if (!o.resume || !existsSync(path)) return undefined
      isFound = true
      used.add(path)
      return toArray(fileBytes(path))
    },
    write: async (key, bytes) => {
      const path = pathOf(key)
      await writeAtomic(path, [bytes], { force: true })
      used.add(path)
    },
    clear: () => {
      for (const path of used) rmSync(path, { force: true })
    }
  }
}
