import { cell, columns } from '../report/table.ts'
import type { Command } from './command.ts'
import { styleFor } from './style.ts'

/** `pare targets` */
export const command: Command = {
  name: 'targets',
  summary: 'list the places that a model can be made for',
  positionals: [],
  flags: [{ name: 'json', kind: 'boolean', group: 'output', about: 'print JSON' }],
  run: async (given, { out, places }) => {
    const { targets, formats } = await places()
    if (given.values.get('json') === true) {
      out.write(`${JSON.stringify(targets, null, 2)}\n`)
      return 0
    }
    const style = styleFor(out)
    const rows = targets.map((t) => [
      cell([t.name, ...(t.aliases ?? [])].join(', '), style.accent),
      cell(formats.find((f) => f.name === t.format)?.title ?? t.format),
      cell(t.runtime),
      cell(t.summary)
    ])
    out.write(`\n${columns(rows).join('\n')}\n`)
    return 0
  }
}
