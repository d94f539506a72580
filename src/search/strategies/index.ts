/** All strategies. */
import type { StrategyRecord } from '../strategy.ts'
import { ladder } from './ladder.ts'

/** Strategies by which `compress` can search; the first is the default. */
export const strategies: readonly [StrategyRecord, ...StrategyRecord[]] = [ladder]
