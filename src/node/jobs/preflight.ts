/** What becomes of a model's operators on its target's device, told from the file that the target would be given. */
import { PareError } from '../../base/errors.ts'
import { parseOptions } from '../../base/options.ts'
import { writeIn } from '../../formats/index.ts'
import type { Preflight } from '../../report/types.ts'
import { preflight } from '../../targets/index.ts'
import type { Bytes } from '../../types.ts'
import { formatOf } from '../catalog.ts'
import { fileBytes } from '../files.ts'
import type { JobHooks } from '../job.ts'
import type { Opened } from './open.ts'
import { prepared } from './prepared.ts'

/**
 * Of a file of the target's own format as it is, of other models as they would be written; nothing where the target says
 * nothing of a device. A model that cannot be written has the reason in a note.
 */
export async function preflightOf(
  o: Opened,
  path: string,
  hooks: Pick<JobHooks, 'signal' | 'progress'>
): Promise<{ readonly preflight?: Preflight; readonly notes?: readonly string[] }> {
  const { target, catalog } = o
  if (!target.device) return {}
  const format = formatOf(target, catalog)
  let file: Bytes
  try {
    file =
      o.model.origin?.format === format.name
        ? fileBytes(path)
        : writeIn(format, (await prepared(o, hooks)).model, parseOptions(format, {}), { target }).bytes
  } catch (e) {
    if (!(e instanceof PareError)) throw e
    const where = e.where === undefined ? '' : ` (${e.where})`
    return {
      notes: [
        ...o.notes,
        `nothing can be said of ${target.name}: as ${format.title} the model cannot be written: ${e.message}${where}`
      ]
    }
  }
  const operators = format.operators?.(file)
  const found = operators && preflight(target, operators)
  return found ? { preflight: found } : {}
}
