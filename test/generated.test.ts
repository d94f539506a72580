/** Pages that are made from the code: `npx vitest run test/generated.test.ts -u` writes them anew. */
import { describe, expect, it } from 'vitest'
import { flagsOf } from '../src/cli/schema.ts'
import { ops } from '../src/ops/index.ts'
import { passes } from '../src/passes/index.ts'
import { targets } from '../src/targets/index.ts'

const row = (cells: readonly string[]): string => `| ${cells.map((c) => c.replaceAll('|', '\\|')).join(' | ')} |`
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [row(head), row(head.map(() => '---')), ...rows.map(row)].join('\n')
const yes = (there: unknown): string => (there ? 'yes' : '')

describe('generated pages', () => {
  it('docs/ops.md: operators and what is known of them', async () => {
    const sorted = [...ops].sort((a, b) => nameOf(a).localeCompare(nameOf(b), 'en'))
    const rows = sorted.map((op) => [
      `\`${nameOf(op)}\``,
      'yes',
      yes(op.cost),
      yes(op.grad),
      yes(op.channels),
      yes(op.quant),
      targets
        .filter((t) => t.integer.some((row) => row.op === nameOf(op)))
        .map((t) => t.name)
        .join(', ')
    ])
    const page = [
      '# Operators',
      '',
      `Made from the code. ${ops.length} operators; an empty cell means unknown: no cost is shown as "?", no quantization rule`,
      'as staying in float, no gradient as not trainable, no rule for channels as keeping all channels around it.',
      '',
      table(['operator', 'shapes', 'cost', 'gradient', 'channels', 'quantization', 'integer kernels on'], rows),
      ''
    ].join('\n')
    await expect(page).toMatchFileSnapshot('../docs/ops.md')
  })

  it('docs/passes.md: passes and their options', async () => {
    const sections = passes.map((pass) => {
      const flags = flagsOf(pass.options, 'options')
      const facts = [
        pass.needs.length > 0 ? `Needs ${pass.needs.join(' and ')} data.` : '',
        pass.uses.length > 0 ? `Makes use of ${pass.uses.join(' and ')} data.` : '',
        pass.after.length > 0 ? `On the command line after ${pass.after.join(' and ')}.` : ''
      ].filter(Boolean)
      const rows = flags.map((f) => [`\`${f.name}\``, f.choices?.join(', ') ?? f.kind, spell(f.default), f.about])
      return [
        `## ${pass.name}`,
        '',
        [pass.summary, ...facts].join('. ').replaceAll('..', '.'),
        '',
        table(['option', 'values', 'default', 'meaning'], rows),
        ''
      ].join('\n')
    })
    await expect(['# Passes', '', 'Made from the code.', '', ...sections].join('\n')).toMatchFileSnapshot(
      '../docs/passes.md'
    )
  })
})

const nameOf = (op: { readonly name: string; readonly domain?: string }): string =>
  op.domain === undefined ? op.name : `${op.domain}:${op.name}`

const spell = (value: unknown): string =>
  value === undefined || (Array.isArray(value) && value.length === 0)
    ? ''
    : `\`${typeof value === 'string' ? value : JSON.stringify(value)}\``
