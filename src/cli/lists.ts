/** What help tells of passes and strategies. The build puts the lists themselves in place of this module: help loads neither. */
import { passes } from '../passes/index.ts'
import type { AnyPass } from '../passes/pass.ts'
import { explorers } from '../search/space/strategies/index.ts'
import { strategies } from '../search/strategies/index.ts'
import type { StrategyRecord } from '../search/strategy.ts'

/** Name, summary and group of every pass. */
export const passList: readonly Pick<AnyPass, 'name' | 'summary' | 'group'>[] = passes.map(
  ({ name, summary, group }) => ({ name, summary, ...(group === undefined ? {} : { group }) })
)

type Told = Pick<StrategyRecord, 'name' | 'summary'>
const told = ({ name, summary }: Told): Told => ({ name, summary })
const [first, ...others] = strategies

/** Name and summary of every strategy; the first is the default. */
export const strategyList: readonly [Told, ...Told[]] = [told(first), ...others.map(told)]

/** The same of ways to explore a space. */
export const explorerList: readonly Told[] = explorers.map(told)
