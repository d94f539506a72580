import { z } from 'zod'
import { passes } from '../passes/index.ts'
import { cell, columns } from '../report/table.ts'
import type { Command } from './command.ts'
import { passGroups } from './help.ts'
import { styleFor } from './style.ts'

const needsOf = (name: string): string => {
  const needs = passes.find((p) => p.name === name)?.needs ?? []
  return needs.length > 0 ? `(needs ${needs.join(', ')} data)` : ''
}

/** `pare passes` */
export const command: Command = {
  name: 'passes',
  summary: 'list every pass and what it needs',
  positionals: [],
  flags: [{ name: 'json', kind: 'boolean', group: 'output', about: 'print JSON, options as JSON Schema' }],
  run: async (given, { out }) => {
    if (given.values.get('json') === true) {
      const all = passes.map((p) => ({
        ...{ name: p.name, summary: p.summary, needs: p.needs },
        options: z.toJSONSchema(p.options, { io: 'input', unrepresentable: 'any' })
      }))
      out.write(`${JSON.stringify(all, null, 2)}\n`)
      return 0
    }
    const style = styleFor(out)
    const wide = Math.max(...passes.map((p) => p.name.length))
    const lines = passGroups(passes).flatMap(({ title, commands }) => {
      const rows = commands.map((c) => [cell(c.name, style.accent), cell(c.summary), cell(needsOf(c.name), style.dim)])
      return ['', `  ${style.bold(title)}`, ...columns(rows, 4, 3, [wide])]
    })
    out.write(`${lines.join('\n')}\n\n  pare help PASS tells the options of one.\n`)
    return 0
  }
}
