import { passes } from '../passes/index.ts'
import { cell, columns } from '../report/table.ts'
import type { Command } from './command.ts'
import { styleFor } from './style.ts'

/** `pare passes` */
export const command: Command = {
  name: 'passes',
  summary: 'every pass and what it needs',
  positionals: [],
  flags: [{ name: 'json', kind: 'boolean', group: 'output', about: 'as JSON, options as JSON Schema' }],
  run: async (given, { out }) => {
    if (given.values.get('json') === true) {
      const { z } = await import('zod')
      const all = passes.map((p) => ({
        ...{ name: p.name, summary: p.summary, needs: p.needs },
        options: z.toJSONSchema(p.options, { io: 'input', unrepresentable: 'any' })
      }))
      out.write(`${JSON.stringify(all, null, 2)}\n`)
      return 0
    }
    const style = styleFor(out)
    const rows = passes.map((p) => [
      cell(p.name, style.accent),
      cell(p.summary),
      cell(p.needs.length > 0 ? `needs ${p.needs.join(', ')}` : '', style.dim)
    ])
    out.write(`\n${columns(rows).join('\n')}\n\n  pare PASS --help tells the options of one.\n`)
    return 0
  }
}
