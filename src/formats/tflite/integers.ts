/** `intOnly`: what runs on whole numbers alone, as microcontrollers and the Edge TPU want it, or a list of what does not. */
import { PareError } from '../../base/errors.ts'
import { listed } from '../../base/listed.ts'
import type { FileOperator, Target } from '../../targets/types.ts'

const floats: readonly string[] = ['float16', 'float32', 'float64', 'bfloat16']

/** Does a target compute on integers alone? */
export const hasNoFloats = ({ device }: Pick<Target, 'device'>): boolean =>
  device?.as !== undefined &&
  !device.types.some(({ when }) => when.some(([feature, , want]) => feature === 'dtype' && listOf(want).some(isFloat)))

const isFloat = (type: unknown): boolean => floats.some((f) => f === type)
const listOf = (want: unknown): readonly unknown[] => (Array.isArray(want) ? want : [want])

/** Operators that compute on floats, of which the target has none, by why; none where there are none. */
export function floatNotes(
  operators: readonly FileOperator[],
  target: Pick<Target, 'name' | 'device'>
): readonly string[] {
  const reasons = byReason(operators, target)
  return [...reasons].map(
    ([why, all]) =>
      `${all.length} of ${operators.length} operators compute on floats, and ${target.name} on integers alone: ${listed(all.map((o) => `${o.op} ${o.name}`))}: ${why}`
  )
}

/** Operators that read or give floats, by why they do. */
function byReason(
  operators: readonly FileOperator[],
  target: Pick<Target, 'name' | 'device'> | undefined
): ReadonlyMap<string, readonly FileOperator[]> {
  const reasons = new Map<string, FileOperator[]>()
  for (const o of operators) {
    if (!o.values.some((v) => isFloat(v.dtype))) continue
    const why = whyFloat(o, target)
    reasons.set(why, [...(reasons.get(why) ?? []), o])
  }
  return reasons
}

/** Throws `E_CONSTRAINT` with every operator that reads or gives floats, and why it does. */
export function refuseFloats(
  operators: readonly FileOperator[],
  target: Pick<Target, 'name' | 'device'> | undefined
): void {
  const reasons = byReason(operators, target)
  const found = [...reasons.values()].flat()
  const [first] = found
  if (!first) return
  throw new PareError(
    'E_CONSTRAINT',
    `${found.length} of ${operators.length} operators compute on floats: nothing was written`,
    {
      where: first.name,
      facts: Object.fromEntries([...reasons].map(([why, all]) => [why, listed(all.map((o) => `${o.op} ${o.name}`))])),
      hint: 'pare quantize-static --data … makes integers of what the target has kernels for'
    }
  )
}

function whyFloat({ op, values }: FileOperator, target: Pick<Target, 'name' | 'device'> | undefined): string {
  if (values.every((v) => floats.includes(v.dtype)) && target?.device) {
    const groups = target.device.operators.filter((g) => op in g.take)
    if (groups.length === 0) return `${target.name} has no kernel of it`
    if (!groups.some((g) => !g.of || g.of.includes('int8'))) return `${target.name} has no int8 kernel of it`
  }
  return values.some((v) => !floats.includes(v.dtype)) ? 'between floats and integers' : 'it was not quantized'
}
