/** What the command line tells of passes, formats and strategies. The build puts the lists themselves in place of this module. */
import { formats } from '../formats/index.ts'
import { passes } from '../passes/index.ts'
import { explorers } from '../search/space/strategies/index.ts'
import { strategies } from '../search/strategies/index.ts'
import type { StrategyRecord } from '../search/strategy.ts'
import { type FormatCard, formatCard, type PassCard, passCard } from './cards.ts'

export const passList: readonly PassCard[] = passes.map(passCard)

export const formatList: readonly FormatCard[] = formats.map(formatCard)

type Told = Pick<StrategyRecord, 'name' | 'summary'>
const told = ({ name, summary }: Told): Told => ({ name, summary })
const [first, ...others] = strategies

/** Name and summary of every strategy; the first is the default. */
export const strategyList: readonly [Told, ...Told[]] = [told(first), ...others.map(told)]

/** The same of ways to explore a space. */
export const explorerList: readonly Told[] = explorers.map(told)
