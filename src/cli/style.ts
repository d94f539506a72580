import pc from 'picocolors'
import { noStyle, type Style } from '../report/table.ts'

/** Colours where the stream shows them. */
export function styleFor(stream: NodeJS.WriteStream): Style {
  const { env } = process
  const colours = env['FORCE_COLOR'] || (stream.isTTY === true && !env['NO_COLOR'] && env['TERM'] !== 'dumb')
  if (!colours) return noStyle
  const { bold, dim, green, red, cyan } = pc.createColors(true)
  return { bold, dim, good: green, bad: red, accent: cyan }
}
