import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { PareError } from '../base/errors.ts'
import { parseOptions } from '../base/options.ts'
import { passFor } from '../passes/index.ts'
import type { Command } from './command.ts'
import { type Flag, kebab, optionsFrom, parseFlags } from './flags.ts'
import { passGroups } from './help.ts'
import { passList } from './lists.ts'
import { passCommand } from './pass.ts'
import { flagsOf } from './schema.ts'

const flag = (name: string, kind: Flag['kind'], more: Partial<Flag> = {}): Flag => ({
  ...{ name, kind, about: '', group: 'g' },
  ...more
})
const flags = [
  flag('out', 'text', { short: 'o' }),
  flag('seed', 'whole'),
  flag('max-drop', 'share'),
  flag('force', 'boolean'),
  flag('objective', 'choice', { choices: ['balanced', 'size'] }),
  flag('exclude', 'list'),
  flag('perChannel', 'boolean', { default: true })
]
const read = (...args: string[]): Record<string, unknown> =>
  Object.fromEntries(parseFlags(args, flags, [{ name: 'model' }], 'do').values)

const failing = (...args: string[]): PareError => {
  try {
    parseFlags(args, flags, [{ name: 'model' }], 'do')
  } catch (e) {
    if (e instanceof PareError) return e
    throw e
  }
  throw new Error(`no error for ${args.join(' ')}`)
}

describe('flags', () => {
  it('reads every kind', () => {
    expect(read('m', '-o', 'x.onnx', '--seed=7', '--force', '--exclude', 'a,b', '--exclude', 'c')).toEqual({
      ...{ out: 'x.onnx', seed: 7, force: true },
      exclude: ['a', 'b', 'c']
    })
    expect(read('m', '--objective', 'size')).toEqual({ objective: 'size' })
  })

  it('takes 1% and 0.01 for the same', () => {
    expect(read('m', '--max-drop', '1%')).toEqual({ 'max-drop': 0.01 })
    expect(read('m', '--max-drop', '0.01')).toEqual({ 'max-drop': 0.01 })
    expect(read('m', '--max-drop', '0.3%')).toEqual({ 'max-drop': 0.003 })
    expect(failing('m', '--max-drop', '1').hint).toContain('1%')
    expect(failing('m', '--max-drop', 'x').message).toContain('share')
  })

  it('keeps numbers within the range of their flag, and says in which they are', () => {
    const ranges: readonly Flag[] = [
      flag('alpha', 'number', { range: { above: 0, most: 1e6 } }),
      flag('rounds', 'whole', { range: { least: 1, most: 9 } }),
      flag('least', 'whole', { range: { least: 1 } }),
      flag('hostile', 'share', { range: { least: 0, most: 1 } }),
      flag('mask', 'share', { range: { above: 0, most: 1 } })
    ]
    const given = (name: string, text: string): unknown => {
      try {
        return parseFlags([`--${name}`, text], ranges, [], 'do').values.get(name)
      } catch (e) {
        return (e as PareError).message
      }
    }
    expect(given('alpha', '-1')).toBe('--alpha takes a number above 0, not -1')
    expect(given('alpha', '1e7')).toBe('--alpha takes a number up to 1000000, not 1e7')
    expect(given('rounds', '0')).toBe('--rounds takes a whole number from 1 to 9, not 0')
    expect(given('least', '0')).toBe('--least takes a whole number from 1, not 0')
    expect(given('hostile', '200%')).toBe('--hostile takes a share from 0 to 100 %, not 200%')
    expect(given('mask', '0')).toBe('--mask takes a share above 0 %, not 0')
    expect([given('hostile', '100%'), given('mask', '1'), given('alpha', '0.1'), given('rounds', '9')]).toEqual([
      ...[1, 1, 0.1, 9]
    ])
  })

  it('takes names in either spelling, and no- for booleans only', () => {
    expect(read('m', '--no-perChannel')).toEqual({ perChannel: false })
    expect(read('m', '--no-per-channel')).toEqual({ perChannel: false })
    expect(failing('m', '--no-seed').message).toContain('no option --no-seed')
  })

  it('names options in messages as the command line spells them', () => {
    expect(failing('m', '--perChannel=1').hint).toBe('--perChannel, or --no-per-channel')
    expect(failing('m', '--per-chanel').hint).toBe('--per-channel')
    expect(failing('m', '--perChanel').hint).toBe('--per-channel')
  })

  it('suggests the nearest option', () => {
    const e = failing('m', '--sed', '1')
    expect(e.code).toBe('E_USAGE')
    expect(e.hint).toBe('--seed')
  })

  it.each([
    [['m', '--seed'], 'needs a value'],
    [['m', '--out', '--force'], 'needs a value'],
    [['m', '--seed', '1.5'], 'whole number'],
    [['m', '--seed', '1', '--seed', '2'], 'twice'],
    [['m', '--force=yes'], 'no value'],
    [['m', '--objective', 'siz'], 'one of balanced, size'],
    [['m', 'n'], 'one more'],
    [[], 'needs model']
  ])('%j: %s', (args, message) => {
    expect(failing(...args).message).toContain(message)
  })
})

/** Texts of the help begin in lower case, or with an abbreviation or name (`ONNX: …`). */
const voice = /^(?![A-Z][a-z]+ )\S/

describe('options schemas as flags', () => {
  const schema = z.strictObject({
    bits: z
      .union([z.literal(8), z.literal(4)])
      .default(8)
      .describe('bits of a weight'),
    form: z.enum(['foldable', 'qdq']).default('foldable'),
    ratio: z.number().optional(),
    exclude: z.array(z.string()).default([]),
    optimizer: z.strictObject({ lr: z.number().default(0.1), steps: z.int().default(5) }).prefault({}),
    on: z.boolean().default(true),
    map: z.record(z.string(), z.number()).optional()
  })
  const own = flagsOf(schema, 'options')

  it('makes a flag of every field, nested ones with a point', () => {
    expect(own.map((f) => [f.name, f.kind, f.default])).toEqual([
      ['bits', 'choice', 8],
      ['form', 'choice', 'foldable'],
      ['ratio', 'number', undefined],
      ['exclude', 'list', []],
      ['optimizer.lr', 'number', 0.1],
      ['optimizer.steps', 'whole', 5],
      ['on', 'boolean', true],
      ['map', 'json', undefined]
    ])
    expect(own[0]?.about).toBe('bits of a weight')
  })

  it('gives back options that the schema takes', () => {
    const { values } = parseFlags(
      ['--bits', '4', '--optimizer.lr', '0.01', '--no-on', '--exclude', 'a,b', '--map', '{"N":1}'],
      own,
      [],
      'p'
    )
    const options = optionsFrom(own, values)
    expect(options).toEqual({ bits: 4, optimizer: { lr: 0.01 }, on: false, exclude: ['a', 'b'], map: { N: 1 } })
    expect(schema.parse(options)).toMatchObject({ bits: 4, form: 'foldable', optimizer: { lr: 0.01, steps: 5 } })
  })

  it('describes every option of every pass, and none hides a flag that all commands have', () => {
    for (const { name, summary } of passList) {
      const c = passCommand(name) as Command
      expect(c.summary).toBe(summary)
      expect(summary).toMatch(voice)
      expect(summary.length, name).toBeLessThanOrEqual(105)
      const names = c.flags.map((f) => f.name)
      expect(new Set(names).size, c.name).toBe(names.length)
      for (const f of c.flags) expect(f.about, `${c.name} --${f.name}`).toMatch(voice)
    }
  })

  it('lists every pass in a group of the help', () => {
    const groups = passGroups(passList)
    expect(groups.map((g) => g.title)).not.toContain('other passes')
    expect(groups.flatMap((g) => g.commands)).toHaveLength(passList.length)
    const own = { name: 'mine', summary: 'do something of mine' }
    expect(passGroups([...passList, own]).at(-1)).toEqual({ title: 'other passes', commands: [own] })
  })

  it('tells a wrong value of a pass by the name of its flag', () => {
    const pass = passFor('quantize-weights')
    expect(() => parseOptions(pass, { minElements: 0 }, (name) => `--${kebab(name)}`)).toThrow('--min-elements')
  })
})
