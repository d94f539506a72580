/** The list of targets: places where a model will live. */
import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'
import type { Target } from '../types.ts'
import { ortCpu } from './ort-cpu.ts'
import { ortCpuAvx2 } from './ort-cpu-avx2.ts'
import { ortWeb } from './ort-web.ts'

/** Every target, the default first. */
export const targets: readonly Target[] = [ortCpu, ortCpuAvx2, ortWeb]

/** The target of a name. Throws `E_USAGE` with suggestions. */
export function targetFor(name: string): Target {
  const found = targets.find((t) => t.name === name)
  if (found) return found
  const names = targets.map((t) => t.name)
  const close = nearest(name, names)
  throw new PareError('E_USAGE', `there is no target ${name}`, {
    where: name,
    facts: { targets: names.join(', ') },
    ...(close ? { hint: `did you mean ${close}?` } : {})
  })
}
