/** All ways to explore a space; the first is the default. */
import type { ExplorerRecord } from '../explorer.ts'
import { ddpg } from './ddpg.ts'
import { evolution } from './evolution.ts'
import { local } from './local.ts'
import { random } from './random.ts'
import { solve } from './solve.ts'
import { tpe } from './tpe.ts'

/** Explorers by which `pare search` can search. */
export const explorers: readonly [ExplorerRecord, ...ExplorerRecord[]] = [local, solve, evolution, random, tpe, ddpg]
