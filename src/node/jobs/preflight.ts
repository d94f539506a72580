/** What becomes of a model's operators on its target's device, told from the file that the target would be given. */
import { PareError } from '../../base/errors.ts'
import { parseOptions } from '../../base/options.ts'
import { writeIn } from '../../formats/index.ts'
import type { AnyFormat } from '../../formats/types.ts'
import { operatorsOfModel } from '../../ops/facts.ts'
import type { Preflight } from '../../report/types.ts'
import { preflight } from '../../targets/index.ts'
import type { FileOperator } from '../../targets/types.ts'
import type { Bytes } from '../../types.ts'
import { fileBytes } from '../files.ts'
import type { JobHooks } from '../job.ts'
import { formatOf } from '../places.ts'
import type { Opened } from './open.ts'
import { prepared } from './prepared.ts'
import { guessedShapes } from './synthetic.ts'

/** Of the operators of a format without words of its own: those of the Model, at one sample. */
const operatorsIn = (o: Opened, format: AnyFormat, file: Bytes): readonly FileOperator[] =>
  format.operators?.(file) ?? operatorsOfModel(o.model, guessedShapes(o))

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
  const found = preflight(target, operatorsIn(o, format, file))
  return found ? { preflight: found } : {}
}
