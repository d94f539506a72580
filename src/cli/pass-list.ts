/** What the overview tells of the passes. The build puts the list itself in place of this module, so that `pare --help` loads no pass. */
import { passes } from '../passes/index.ts'

/** Name and summary of every pass. */
export const passList: readonly { readonly name: string; readonly summary: string }[] = passes.map(
  ({ name, summary }) => ({ name, summary })
)
