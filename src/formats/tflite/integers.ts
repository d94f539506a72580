/** `intOnly`: what runs on whole numbers alone, as microcontrollers and the Edge TPU want it, or a list of what does not. */
import { PareError } from '../../base/errors.ts'
import { listed } from '../../base/listed.ts'
import type { FileOperator, Target } from '../../types.ts'

const floats: readonly string[] = ['float16', 'float32', 'float64', 'bfloat16']

/** Throws `E_CONSTRAINT` with every operator that reads or gives floats, and why it does. */
export function refuseFloats(
  operators: readonly FileOperator[],
  target: Pick<Target, 'name' | 'device'> | undefined
): void {
  const found = operators.filter((o) => o.values.some((v) => floats.includes(v.dtype)))
  const [first] = found
  if (!first) return
  const reasons = new Map<string, FileOperator[]>()
  for (const o of found) {
    const why = whyFloat(o, target)
    reasons.set(why, [...(reasons.get(why) ?? []), o])
  }
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
