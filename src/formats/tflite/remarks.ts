/** What a file says of constant codes beside what they stand for: how an operator with data in float reads them. */
import type { Node, Remarks } from '../../types.ts'

/** `dynamic`: its data is rounded while it runs. `widened`: they are dequantized once, when the file is loaded. */
type Reading = 'dynamic' | 'widened'

const key = 'tflite.weights'

export const saying = (reading: Reading): Remarks => ({ facts: [[key, reading]] })

export function readingOf(node: Node): Reading | undefined {
  const said = node.remarks?.facts?.find(([k]) => k === key)?.[1]
  return said === 'dynamic' || said === 'widened' ? said : undefined
}
