/** What the overview tells of the passes. The build puts the list itself in place of this module, so that `pare --help` loads no pass. */
import { passes } from '../passes/index.ts'
import type { AnyPass } from '../passes/pass.ts'

/** Name, summary and group of every pass. */
export const passList: readonly Pick<AnyPass, 'name' | 'summary' | 'group'>[] = passes.map(
  ({ name, summary, group }) => ({ name, summary, ...(group === undefined ? {} : { group }) })
)
