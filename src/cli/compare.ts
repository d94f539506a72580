import { printGate } from '../report/gate.ts'
import { type Command, isOn } from './command.ts'
import { baselineOf, gated, gateFlags, summaryPath } from './gate.ts'
import { maxDropFlag } from './shared-flags.ts'
import { styleFor } from './style.ts'

/** `pare compare` */
export const command: Command = {
  name: 'compare',
  summary: 'compare two reports: what got worse since, with intervals; nothing is run',
  positionals: [{ name: 'baseline.json' }, { name: 'report.json' }],
  flags: [
    { ...maxDropFlag, group: 'gate', about: 'the loss since the baseline that is allowed, of the first metric' },
    ...gateFlags,
    { name: 'json', kind: 'boolean', group: 'output', about: 'print JSON and nothing else' },
    { name: 'quiet', kind: 'boolean', group: 'output', about: 'print nothing but errors' },
    { name: 'debug', kind: 'boolean', group: 'output', about: 'show where an error comes from' }
  ],
  examples: ['pare compare baseline.json report.json --max-drop 0.5% --max-bytes 5%'],
  more: 'Status 3: more than a bound got worse, or what is bounded is in none of the reports.',
  run: async (given, { out }) => {
    const [old = '', now = ''] = given.positionals
    const [was, is] = [baselineOf(old), baselineOf(now)]
    summaryPath(given)
    const gate = gated(old, was, is, given)
    if (isOn(given, 'json')) out.write(`${JSON.stringify(gate, null, 2)}\n`)
    else if (!isOn(given, 'quiet')) out.write(printGate(gate, styleFor(out)))
    return gate.failed ? 3 : 0
  }
}
