/** Help texts: what a command does, its flags with defaults, and examples. */

import type { PassGroup } from '../passes/types.ts'
import { type Cell, cell, columns, type Style, width } from '../report/table.ts'
import { type Flag, kebab, type Positional } from './flags.ts'

/** What a help page tells of a command. */
export interface HelpPage {
  readonly name: string
  readonly summary: string
  readonly positionals: readonly Positional[]
  readonly flags: readonly Flag[]
  readonly examples?: readonly string[]
  readonly more?: string
}

const lineWidth = 110

/** Help for one command. */
export function commandHelp(page: HelpPage, style: Style): string {
  const form = page.positionals.map((p) => (p.optional ? `[${p.name}]` : p.name)).join(' ')
  const lines = ['', `  ${page.summary}`, '', `  ${style.bold(`pare ${page.name} ${form}`)} ${style.dim('[options]')}`]
  const groups = [...new Set(page.flags.map((f) => f.group))]
  const rows = new Map(groups.map((g) => [g, page.flags.filter((f) => f.group === g).map((f) => flagRow(f))]))
  const wide = Math.min(34, Math.max(...[...rows.values()].flat().map((r) => width(r.left))))
  for (const [group, all] of rows) {
    lines.push('', `  ${style.bold(group)}`)
    for (const r of all) lines.push(...wrapped(r.left, r.text, wide, style))
  }
  if (page.examples?.length) lines.push('', `  ${style.bold('examples')}`, ...page.examples.map((e) => `    ${e}`))
  if (page.more) lines.push('', `  ${page.more}`)
  return `${lines.join('\n')}\n`
}

function flagRow(f: Flag): { left: string; text: string } {
  const isOn = f.kind === 'boolean' && f.default === true
  const value = f.kind === 'boolean' ? '' : ` ${f.choices ? f.choices.join('|') : (f.hint ?? 'VALUE')}`
  const left = `${f.short ? `-${f.short}, ` : ''}--${isOn ? '[no-]' : ''}${kebab(f.name)}${value}`
  const shown = f.default === undefined || f.default === false || isOn ? '' : ` (default: ${spell(f.default)})`
  return { left, text: `${f.about}${isOn ? ' (on by default)' : ''}${shown}` }
}

const spell = (value: unknown): string =>
  typeof value === 'string' ? value : Array.isArray(value) ? value.join(',') || 'none' : JSON.stringify(value)

/** A flag with its text beside it, broken into lines; below it where the flag is too long. */
function wrapped(left: string, text: string, wide: number, style: Style): string[] {
  const room = lineWidth - wide - 8
  const lines: string[] = ['']
  for (const word of text.split(' ')) {
    const last = lines.at(-1) ?? ''
    if (last && width(last) + width(word) + 1 > room) lines.push(word)
    else lines[lines.length - 1] = last ? `${last} ${word}` : word
  }
  const space = ' '.repeat(wide + 8)
  const body = lines.map((l, i) => (i === 0 ? l : `${space}${l}`))
  if (width(left) > wide) return [`    ${style.accent(left)}`, ...lines.map((l) => `${space}${l}`)]
  return [`    ${style.accent(left)}${' '.repeat(wide - width(left) + 4)}${body.join('\n')}`]
}

const passTitles: Readonly<Record<PassGroup, string>> = {
  graph: 'passes: change the graph alone',
  pruning: 'passes: prune',
  integers: 'passes: compute on integers',
  storage: 'passes: store weights in fewer bits',
  accuracy: 'passes: keep accuracy under rounding',
  training: 'passes: train',
  adaptive: 'passes: compute less for easy inputs'
}

interface Listed {
  readonly name: string
  readonly summary: string
}

/** Passes by group, in the order of the titles; those of no group come last. */
export function passGroups(
  passes: readonly (Listed & { readonly group?: PassGroup })[]
): readonly { readonly title: string; readonly commands: readonly Listed[] }[] {
  const titles: readonly (readonly [PassGroup | undefined, string])[] = [
    ...(Object.entries(passTitles) as [PassGroup, string][]),
    [undefined, 'other passes']
  ]
  return titles
    .map(([group, title]) => ({ title, commands: passes.filter((p) => p.group === group) }))
    .filter((g) => g.commands.length > 0)
}

/** The page of `pare federate`: the commands that begin with this word. */
export function familyHelp(
  { name, title, commands }: { readonly name: string; readonly title: string; readonly commands: readonly Listed[] },
  style: Style
): string {
  const rows = commands.map((c): Cell[] => [cell(c.name, style.accent), cell(c.summary)])
  const wide = Math.max(...commands.map((c) => width(c.name)))
  const lines = ['', `  ${style.bold(`pare ${name}`)}   ${title}`, '', ...columns(rows, 4, 3, [wide])]
  return `${[...lines, '', `  pare help ${commands[0]?.name ?? name} tells the options of a command.`].join('\n')}\n`
}

/** The page of `pare --help`: commands by group. */
export function overview(
  groups: readonly { readonly title: string; readonly commands: readonly Listed[] }[],
  style: Style,
  version: string
): string {
  const lines = [
    '',
    `  ${style.bold('pare')} ${version}   makes trained neural networks smaller and faster, and proves what that cost`
  ]
  const wide = Math.max(...groups.flatMap((g) => g.commands.map((c) => width(c.name))))
  for (const g of groups) {
    const rows = g.commands.map((c): Cell[] => [cell(c.name, style.accent), cell(c.summary)])
    lines.push('', `  ${style.bold(g.title)}`, ...columns(rows, 4, 3, [wide]))
  }
  lines.push(
    '',
    `  ${style.bold('to begin')}`,
    '    pare inspect model.onnx',
    '    pare compress model.onnx --data photos/ --max-drop 1%',
    '',
    '  pare help COMMAND tells the options of a command; pare --version the version.'
  )
  return `${lines.join('\n')}\n`
}
