import { expect, it } from 'vitest'
import { z } from 'zod'
import { parseOptions } from './options.ts'

const of = {
  name: 'bake',
  options: z.strictObject({
    kind: z.enum(['bread', 'cake']).default('bread'),
    minutes: z.array(z.int().min(1)).min(1).optional(),
    hot: z.boolean().optional(),
    oven: z.strictObject({ degrees: z.number().max(300) }).optional()
  })
}

it.each([
  [{ kind: 'pie' }, 'bake: option kind: must be one of bread, cake'],
  [{ minutes: [5, 0] }, 'bake: option minutes, entry 2: must be at least 1'],
  [{ minutes: ['long'] }, 'bake: option minutes, entry 1: must be of type number'],
  [{ hot: 'very' }, 'bake: option hot: must be of type boolean'],
  [{ oven: { degrees: 400 } }, 'bake: option oven.degrees: must be at most 300'],
  [{ oven: { light: true, degrees: 200 } }, 'bake has no option oven.light'],
  [{ kid: 'bread' }, 'bake has no option kid']
])('says in plain words what does not fit: %j', (given, message) => {
  expect(() => parseOptions(of, given)).toThrow(expect.objectContaining({ code: 'E_OPTION', message }))
})

it('names the option as the caller wrote it', () => {
  expect(() => parseOptions(of, { oven: { degrees: 400 } }, (path) => `--${path}`)).toThrow(
    'option --oven.degrees: must be'
  )
})
