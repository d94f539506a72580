/** The terminal's page of `pare inspect --groups`. */
import type { Style } from './table.ts'
import { plain } from './words.ts'

/** A group of channels that go together. */
export interface GroupLine {
  readonly name: string
  readonly channels: number
  readonly width: number
  readonly makers: readonly string[]
  readonly readers: readonly string[]
  readonly held: readonly string[]
}

const shown = 5

/** Groups that may lose channels with the nodes around them, then those that may not, with what holds them. */
export function printGroups(groups: readonly GroupLine[], style: Style): string {
  const free = groups.filter((g) => g.held.length === 0)
  const held = groups.filter((g) => g.held.length > 0)
  const lines = [
    '',
    `  ${style.bold(`${free.length} group${free.length === 1 ? '' : 's'} of channels may lose some; ${held.length} may not`)}`
  ]
  for (const g of free) {
    lines.push('', `  ${style.accent(plain(g.name))}  ${count(g)}`)
    lines.push(`    made by  ${list(g.makers)}`, `    read by  ${list(g.readers)}`)
  }
  for (const g of held) {
    lines.push('', `  ${style.dim(plain(g.name))}  ${count(g)}`)
    for (const reason of g.held.slice(0, shown)) lines.push(`    stays: ${plain(reason)}`)
    if (g.held.length > shown) lines.push(`    and for ${g.held.length - shown} more reasons`)
  }
  return `${lines.join('\n')}\n`
}

const count = ({ channels, width }: GroupLine): string =>
  width > 1 ? `${channels} × ${width} channels` : `${channels} channel${channels === 1 ? '' : 's'}`

function list(names: readonly string[]): string {
  if (names.length === 0) return 'no constant'
  const more = names.length > shown ? ` and ${names.length - shown} more` : ''
  return `${names
    .slice(0, shown)
    .map((n) => plain(n))
    .join(', ')}${more}`
}
