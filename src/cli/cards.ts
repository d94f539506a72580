/** What the command line tells of passes and formats, as plain data: the build makes it once, so that no command loads them for it. */

import type { AnyFormat } from '../formats/types.ts'
import type { AnyPass } from '../passes/pass.ts'
import type { Flag } from './flags.ts'
import { flagsOf } from './schema.ts'

/** A pass without what it does, its options as flags. */
export type PassCard = Omit<AnyPass, 'run' | 'options'> & { readonly flags: readonly Flag[] }

export const passCard = ({ run: _, options, ...told }: AnyPass): PassCard => ({
  ...told,
  flags: flagsOf(options, 'options')
})

/** What a format calls itself, and what can be chosen when it is written and read. */
export interface FormatCard extends Pick<AnyFormat, 'name' | 'title' | 'extensions' | 'weightless' | 'unread'> {
  readonly writing: readonly Flag[]
  readonly reading: readonly Flag[]
}

export const formatCard = (f: AnyFormat): FormatCard => ({
  ...{ name: f.name, title: f.title, extensions: f.extensions },
  ...(f.weightless ? { weightless: true } : {}),
  ...(f.unread ? { unread: true } : {}),
  writing: f.write ? flagsOf(f.options, 'output') : [],
  reading: f.readOptions ? flagsOf(f.readOptions, 'reading') : []
})
