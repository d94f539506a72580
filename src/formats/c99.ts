/** Compiled models as C: only written. */
import { z } from 'zod'
import { PareError } from '../base/errors.ts'
import { cOf, identifier, lower } from '../compile/index.ts'
import { bindInputs } from '../ir/bind.ts'
import type { Format } from './types.ts'

const options = z.strictObject({
  symbol: z
    .string()
    .regex(/^[A-Za-z_]\w{0,99}$/)
    .optional()
    .describe('prefix of all names in the code; by default from the name of the graph')
})

/** C99: one file of code, which holds its header too; `pare compile` writes that beside it. */
export const c99: Format<z.output<typeof options>> = {
  name: 'c99',
  title: 'C source',
  extensions: ['.c'],
  unread: true,
  detect: () => false,
  read: () => {
    throw new PareError('E_FORMAT', 'C source is not read back')
  },
  options,
  write: (model, { symbol }) => {
    const name = symbol ?? identifier(model.graph.name || 'model')
    const bytes = new TextEncoder().encode(cOf(lower(bindInputs(model, {}), { compact: false, dots: 'all' }), name))
    return { parts: [bytes], bytes }
  }
}
