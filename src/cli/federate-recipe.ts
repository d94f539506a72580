/** Recipes of federations as flags: what the server and simulations have in common. */
import { readFileSync } from 'node:fs'
import { PareError } from '../base/errors.ts'
import { readable } from './check.ts'
import { number, text } from './command.ts'
import type { Flag, Parsed, Range } from './flags.ts'

const flag = (name: string, kind: Flag['kind'], about: string, more: Partial<Flag> = {}): Flag => ({
  ...{ name, kind, about, group: 'rounds' },
  ...more
})

/** Codecs by the names that flags know them by. */
const codings = ['float', '8bit', '4bit', 'top-k', 'stc'] as const

/** A share that is not nothing. */
const part: Range = { above: 0, most: 1 }

/** What of a recipe is a flag, with its place in it. */
const placed: readonly (Flag & { readonly at: readonly string[] })[] = [
  {
    ...flag('rounds', 'whole', 'how often the model goes down and updates come up', {
      ...{ default: 100, range: { least: 1, most: 1_000_000 } }
    }),
    at: ['rounds']
  },
  {
    ...flag('clients-per-round', 'whole', 'clients that take part in a round', {
      ...{ default: 10, range: { least: 1, most: 100_000 } }
    }),
    at: ['clientsPerRound']
  },
  {
    ...flag('epochs', 'whole', 'times that a client sees its samples in a round', {
      ...{ default: 5, range: { least: 1, most: 1000 } }
    }),
    at: ['local', 'epochs']
  },
  {
    ...flag('batch', 'whole', 'samples in a step', { default: 50, range: { least: 1, most: 65_536 } }),
    at: ['local', 'batch']
  },
  {
    ...flag('local-rate', 'number', 'learning rate of the clients', { default: 0.05, range: { above: 0 } }),
    at: ['local', 'rate']
  },
  {
    ...flag('proximal', 'number', 'FedProx: pull towards the model that came down', {
      default: 0,
      range: { least: 0, most: 100 }
    }),
    at: ['local', 'proximal']
  },
  {
    ...flag('clip', 'number', 'longest gradient (default: not clipped)', { range: { above: 0 } }),
    at: ['local', 'clip']
  },
  {
    ...flag('mask', 'share', 'share of the weights that updates hold, the same for all clients', { range: part }),
    at: ['mask']
  }
]

/** Flags that a recipe is made of. */
export const recipeFlags: readonly Flag[] = [
  ...placed.map(({ at: _, ...rest }) => rest),
  flag('server', 'choice', 'what the mean of the updates does to the model', {
    choices: ['fedavg', 'fedavgm', 'fedadam', 'fedyogi'],
    default: 'fedavg'
  }),
  flag('aggregate', 'choice', 'what the updates of a round come to', {
    choices: ['mean', 'trimmed-mean', 'median', 'krum', 'centred-clipping'],
    default: 'mean'
  }),
  flag('up', 'choice', 'how updates are coded', { choices: codings, default: '8bit' }),
  flag('up-share', 'share', 'share of the numbers that top-k and stc send', { default: 0.05, range: part }),
  flag('down', 'choice', 'how the model is coded', { choices: ['float', '8bit', '4bit'], default: '8bit' }),
  flag('recipe', 'text', 'all of it as a file, or that of a report; flags go before it', { hint: 'FILE.json' })
]

export type Fields = Record<string, unknown>

/** The recipe of the file, if one is named, with what flags say in place of what it says. Throws `E_FILE`, `E_USAGE`. */
export function recipeFrom(given: Parsed): Fields {
  const recipe = fileRecipe(given)
  for (const { name, at } of placed) {
    const value = given.values.get(name)
    if (value === undefined) continue
    const [first = '', second] = at
    recipe[first] = second === undefined ? value : { ...(recipe[first] as Fields | undefined), [second]: value }
  }
  const server = text(given, 'server')
  if (server !== undefined) recipe['server'] = { rule: server }
  for (const way of ['up', 'down']) {
    const coding = text(given, way)
    if (coding !== undefined) recipe[way] = codecOf(coding, number(given, `${way}-share`))
  }
  if (given.values.has('up-share') && !['top-k', 'stc'].includes(text(given, 'up') ?? ''))
    throw new PareError('E_USAGE', '--up-share is for --up top-k and --up stc')
  return recipe
}

function codecOf(coding: string, share: number | undefined): Fields {
  if (coding === 'float') return { codec: 'float' }
  const bits = /^(\d)bit$/.exec(coding)?.[1]
  if (bits !== undefined) return { codec: 'quantize', bits: Number(bits) }
  return { codec: coding, ...(share === undefined ? {} : { share }) }
}

function fileRecipe(given: Parsed): Fields {
  const path = text(given, 'recipe')
  if (path === undefined) return {}
  let content: unknown
  try {
    content = JSON.parse(readFileSync(readable(path), 'utf8'))
  } catch (cause) {
    if (cause instanceof PareError) throw cause
    throw new PareError('E_USAGE', 'the recipe is not JSON', { facts: { file: path, why: String(cause) }, cause })
  }
  const { federation } = Object(content) as { federation?: { recipe?: unknown } }
  const found = federation?.recipe ?? content
  if (typeof found !== 'object' || found === null || Array.isArray(found))
    throw new PareError('E_USAGE', 'this is no recipe of a federation', {
      facts: { file: path },
      hint: '{ "rounds": 100, "clientsPerRound": 10, "up": { "codec": "stc", "share": 0.05 } }'
    })
  return { ...found }
}
