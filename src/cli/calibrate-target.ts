import { PareError } from '../base/errors.ts'
import type { Clock } from '../node/calibrate.ts'
import { cell, columns } from '../report/table.ts'
import { type Command, isOn, number, text } from './command.ts'
import { display, silence } from './progress.ts'
import { styleFor } from './style.ts'

/** Throws `E_USAGE`. */
function clockOf(name: string | undefined): Clock {
  if (name === undefined || name === 'wall' || name === 'cpu') return name ?? 'wall'
  throw new PareError('E_USAGE', `--clock takes wall or cpu, not ${name}`, { hint: '--clock cpu' })
}

/** `pare calibrate-target` */
export const command: Command = {
  name: 'calibrate-target',
  summary: 'time a few dozen kernels of a target on this machine, and write the cost model that predicts latency',
  positionals: [{ name: 'target' }],
  flags: [
    {
      name: 'out',
      short: 'o',
      kind: 'text',
      hint: 'FILE',
      group: 'output',
      about: 'where to write it',
      default: 'TARGET.cost.json'
    },
    { name: 'force', kind: 'boolean', group: 'output', about: 'overwrite files that exist' },
    { name: 'threads', kind: 'whole', hint: 'N', group: 'target', about: 'threads of the runtime', default: 1 },
    {
      name: 'rounds',
      kind: 'whole',
      hint: 'N',
      group: 'target',
      about: 'times that all are gone through; the quietest counts',
      default: 4
    },
    {
      name: 'clock',
      kind: 'text',
      hint: 'wall|cpu',
      group: 'target',
      about: 'cpu: the time of the process itself, where other work runs on the machine',
      default: 'wall'
    },
    { name: 'json', kind: 'boolean', group: 'output', about: 'print what was timed as JSON and nothing else' },
    { name: 'quiet', kind: 'boolean', group: 'output', about: 'print nothing but errors' }
  ],
  examples: ['pare calibrate-target ort-cpu', 'pare calibrate-target ort-web -o web.cost.json'],
  more: 'Times are only comparable on the machine that they were taken on, while nothing else runs there.',
  run: async (given, at) => {
    const [{ calibrateTarget, writeCostModel }, { targetFor }] = await Promise.all([
      import('../node/calibrate.ts'),
      import('../targets/index.ts')
    ])
    const target = targetFor(given.positionals[0] ?? '', (await at.places()).targets)
    const out = text(given, 'out') ?? `${target.name}.cost.json`
    const isJson = isOn(given, 'json')
    const isQuiet = isJson || isOn(given, 'quiet')
    const screen = {
      isTTY: at.err.isTTY === true,
      columns: at.err.columns ?? 100,
      write: (t: string) => void at.err.write(t)
    }
    const shown = isQuiet ? silence : display(screen, styleFor(at.err))
    const found = await calibrateTarget({
      target,
      threads: number(given, 'threads') ?? 1,
      rounds: number(given, 'rounds') ?? 4,
      clock: clockOf(text(given, 'clock')),
      signal: at.signal,
      progress: shown.update
    }).finally(shown.clear)
    await writeCostModel(out, found.model, { force: isOn(given, 'force') })
    if (isJson) at.out.write(`${JSON.stringify(found, null, 2)}\n`)
    if (isQuiet) return 0
    const style = styleFor(at.out)
    const { kinds, error, block } = found.model
    const rows = Object.entries(kinds).map(
      ([
        kind,
        {
          samples,
          error: e,
          coefficients: [fixed = 0, macs = 0]
        }
      ]) => [
        cell(kind, style.accent),
        cell(`${samples} networks`),
        cell(macs > 0 ? `${(1 / macs).toFixed(1)} G MACs/s at best` : ''),
        cell(`${(1000 * fixed).toFixed(1)} µs each`),
        cell(e === undefined ? '' : `± ${(100 * e).toFixed(0)} %`)
      ]
    )
    at.out.write(`\n${columns(rows).join('\n')}\n`)
    const percent = (x: number | undefined): string => `${(100 * (x ?? 0)).toFixed(0)} %`
    at.out.write(
      `\n  ${out}: ${found.networks.length} networks, channels in blocks of ${block}; error on networks that were left out ${percent(error?.median)}, at worst ${percent(error?.worst)}\n`
    )
    if (found.skipped.length > 0) at.out.write(style.dim(`  ${found.skipped.length} networks were not taken\n`))
    return 0
  }
}
