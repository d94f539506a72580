import { z } from 'zod'
import { bindInputs, sizesIn } from '../ir/bind.ts'
import { definePass } from './pass.ts'

/** Fixes the free sizes of inputs, for targets that know no others. */
export const fixSizes = definePass({
  name: 'fix-sizes',
  summary: 'fix the free sizes of inputs, such as the batch, for targets that know no others',
  group: 'graph',
  options: {
    sizes: z
      .string()
      .default('')
      .describe('sizes of free axes by name, such as T=64,N=1; an axis without one is x.1; a free first axis is 1'),
    samples: z
      .boolean()
      .default(true)
      .describe('fix a free first axis, where samples stand, that --sizes does not name')
  },
  run: (model, { sizes, samples }) => bindInputs(model, sizesIn(sizes), { samples })
})
