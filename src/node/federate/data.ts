/** A client's own data, opened for the model that came. */

import { PareError } from '../../base/errors.ts'
import type { LabelledDataset } from '../../data/arrays.ts'
import { classCount } from '../../data/metrics.ts'
import type { Model } from '../../types.ts'
import { openDataset } from '../dataset.ts'
import { nodeRunner } from '../runner.ts'

/** Opens data as other commands do; modules are run, as the path is the user's own. Throws `E_LABELS` where there are none. */
export async function openDataFor(model: Model, path: string): Promise<LabelledDataset> {
  const session = await nodeRunner().open(model, { threads: 1 })
  try {
    const data = await openDataset({ path }, session.inputs, { classes: classCount(session.outputs), modules: true })
    if (data.labelled) return data
    throw new PareError('E_LABELS', 'federations train on labelled data', { where: path })
  } finally {
    await session.close()
  }
}
