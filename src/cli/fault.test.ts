import { expect, it } from 'vitest'
import { PareError } from '../base/errors.ts'
import { noStyle } from '../report/table.ts'
import { asPareError, printError, statusOf } from './fault.ts'

it('prints what, the code on the right, aligned facts and what to try', () => {
  const e = new PareError('E_DATA_SHAPE', 'the data does not fit the model', {
    facts: { model: 'input image: float32[N, 3, 32, 32]', data: 'test.npz, x: uint8[5000, 28, 28]' },
    hint: '--preprocess FILE.json with {"resize": 32}'
  })
  expect(printError(e, noStyle)).toMatchInlineSnapshot(`
    "pare: the data does not fit the model                                                       E_DATA_SHAPE
      model    input image: float32[N, 3, 32, 32]
      data     test.npz, x: uint8[5000, 28, 28]
      try      --preprocess FILE.json with {"resize": 32}
    "
  `)
})

it('takes control characters out of names', () => {
  const e = new PareError('E_FORMAT', 'bad\u001b[2J', { where: 'a\u0007b' })
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that none is there is the point
  expect(printError(e, noStyle)).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/)
})

it.each([
  ['E_INTERNAL', 1],
  ['E_USAGE', 2],
  ['E_EXISTS', 2],
  ['E_CONSTRAINT', 3],
  ['E_ABORTED', 130]
] as const)('%s ends with %d', (code, status) => {
  expect(statusOf(new PareError(code, 'x'))).toBe(status)
})

it('tells the surroundings’ errors from bugs of ours', () => {
  const full = Object.assign(new Error('ENOSPC: no space left'), { code: 'ENOSPC', path: '/x' })
  expect(asPareError(full)).toMatchObject({ code: 'E_FILE', message: 'the disk is full', facts: { file: '/x' } })
  expect(asPareError(new TypeError('x is not a function')).code).toBe('E_INTERNAL')
})

it('shows the stack only when asked', () => {
  const e = asPareError(new TypeError('x is not a function'))
  expect(printError(e, noStyle)).not.toContain('    at ')
  expect(printError(e, noStyle, true)).toContain('    at ')
})
