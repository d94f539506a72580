/** What cannot be compiled, as an error that says every reason once. */
import { PareError } from '../base/errors.ts'

export interface Refused {
  /** The operator; `values` for inputs and outputs of the model. */
  readonly of: string
  /** Of the node or value. */
  readonly name: string
  readonly reason: string
}

/** Names that are written out for each reason. */
const namesShown = 8

/** A row for each operator: its reasons, each with the nodes that it stands for. */
export function refusal(refused: readonly Refused[]): PareError {
  const byOp = new Map<string, Map<string, string[]>>()
  for (const { of, name, reason } of refused) {
    const reasons = byOp.get(of) ?? new Map<string, string[]>()
    byOp.set(of, reasons.set(reason, [...(reasons.get(reason) ?? []), name]))
  }
  const facts = [...byOp].map(([op, reasons]): [string, string] => [
    op,
    [...reasons].map(([reason, names]) => `${reason}: ${counted(names)}`).join('; ')
  ])
  const nodes = refused.filter((r) => r.of !== 'values').length
  const what = nodes === 0 ? 'inputs and outputs' : nodes === 1 ? '1 node' : `${nodes} nodes`
  return new PareError('E_UNSUPPORTED', `the model cannot be compiled: ${what} cannot become code`, {
    facts: Object.fromEntries(facts),
    hint: 'constants and normalizations go by simplify and fuse, which pare compile applies first; runtimes take the rest as it is'
  })
}

const counted = (names: readonly string[]): string =>
  names.slice(0, namesShown).join(', ') + (names.length > namesShown ? ` and ${names.length - namesShown} more` : '')
