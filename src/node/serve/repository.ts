/** The models that a server has: found in a file or a folder, loaded, replaced without a gap, taken away. */
import { readdirSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { hasEnding } from '../../base/endings.ts'
import { PareError } from '../../base/errors.ts'
import { dl4j } from '../../formats/dl4j/format.ts'
import { onnx } from '../../formats/onnx/format.ts'
import { tflite } from '../../formats/tflite/format.ts'
import { queues } from '../../serve/queue.ts'
import { statistics } from '../../serve/statistics.ts'
import type { Signature } from '../../serve/types.ts'
import { type Loaded, type LoadedStage, loadModel } from './load.ts'
import type { Part, Served, Stage } from './model.ts'
import { openWarm, type Pool } from './pool.ts'
import type { TuneOptions } from './tune.ts'

/** A file that holds a version of a model. */
export interface Place {
  readonly name: string
  readonly version: string
  readonly path: string
}

export type State = 'LOADING' | 'READY' | 'UNLOADING' | 'UNAVAILABLE'

interface Entry extends Place {
  state: State
  reason: string
  served?: Served
  checked?: string
}

export interface Repository {
  /** Throws `E_ABSENT` for what is not there, `E_BUSY` while it is not ready. Without a version: the newest. */
  find(name: string, version?: string): Served
  versions(name: string): readonly string[]
  /** Served now. */
  readonly ready: readonly Served[]
  readonly entries: readonly Readonly<Entry>[]
  /** Loads all that is there for the first time. Throws where one does not load. */
  loadAll(): Promise<void>
  /** Loads a model as its files are now; what was served goes on until the new one is proven, and stays where it is not. */
  load(name: string): Promise<void>
  /** Takes a model away once its requests are answered. */
  unload(name: string): Promise<void>
}

const namePattern = /^[\w][\w.-]{0,199}$/
const endings = [onnx, tflite, dl4j].map((format) => format.extensions[0])
const isModel = (path: string): boolean => hasEnding(path, endings)

/**
 * `NAME.onnx` is version 1 of NAME; a folder holds such files, or folders NAME with `model.onnx` (version 1) or with numbered
 * folders that do; `.tflite` and `.zip` stand for `.onnx`. Throws `E_FILE`, `E_USAGE` where nothing is found.
 */
export function placesIn(path: string): readonly Place[] {
  if (!statSync(path).isDirectory()) {
    if (isModel(path)) return [{ name: nameOf(path), version: '1', path }]
    throw new PareError('E_UNSUPPORTED', `files ${endings.join(', ')} are served, and no others`, { where: path })
  }
  const found = readdirSync(path, { withFileTypes: true }).flatMap((entry): readonly Place[] => {
    const at = join(path, entry.name)
    if (isModel(entry.name)) return [{ name: nameOf(entry.name), version: '1', path: at }]
    if (!statSync(at).isDirectory()) return []
    return versionsIn(entry.name, at)
  })
  if (found.length === 0)
    throw new PareError('E_USAGE', 'there are no models in this folder', {
      facts: { folder: path },
      hint: `NAME.onnx, NAME/model.onnx or NAME/1/model.onnx, or the same with ${endings.slice(1).join(' or ')}`
    })
  const odd = found.find((p) => !namePattern.test(p.name))
  if (odd)
    throw new PareError('E_USAGE', 'a model’s name stands in addresses: letters, digits, _ . - only', {
      where: odd.path
    })
  const twice = found.find((p, i) => found.findIndex((q) => q.name === p.name && q.version === p.version) !== i)
  if (twice)
    throw new PareError('E_USAGE', `two files are version ${twice.version} of ${twice.name}`, { where: twice.path })
  return found
}

const nameOf = (path: string): string => basename(path).replace(/\.[a-z0-9]+$/i, '')

function versionsIn(name: string, folder: string): readonly Place[] {
  const files = endings.map((ending) => `model${ending}`)
  return readdirSync(folder).flatMap((entry) => {
    if (files.includes(entry)) return [{ name, version: '1', path: join(folder, entry) }]
    if (!/^[1-9]\d*$/.test(entry)) return []
    const found = files.map((file) => join(folder, entry, file))
    return found
      .filter((path) => statSync(path, { throwIfNoEntry: false })?.isFile())
      .map((path) => ({ name, version: entry, path }))
  })
}

export interface RepositoryOptions {
  /** Named once, it may be a file; later the same path is looked at again. */
  readonly path: string
  /** A batch size that the user gave. */
  readonly batch?: number
  readonly load: TuneOptions
  /** Measuring while others are served takes less time, ms. */
  readonly reloadBudgetMs: number
  readonly told: (event: string, facts: object) => void
}

export function repository(pool: Pool, o: RepositoryOptions): Repository {
  const entries: Entry[] = []
  let [count, last]: [number, Promise<unknown>] = [0, Promise.resolve()]
  /** One after the other: loading measures. */
  const inTurn = <T>(work: () => Promise<T>): Promise<T> => {
    const mine = last.then(work)
    last = mine.catch(() => undefined)
    return mine
  }
  const entryOf = (place: Place): Entry => {
    const known = entries.find((e) => e.name === place.name && e.version === place.version)
    if (known) return known
    const fresh: Entry = { ...place, state: 'LOADING', reason: '' }
    entries.push(fresh)
    return fresh
  }

  const bring = async (place: Place, budgetMs: number): Promise<void> => {
    const entry = entryOf(place)
    const old = entry.served
    // Its last character ends it: no key is the beginning of another.
    const key = `${place.name}/${place.version}#${++count}/`
    if (!old) entry.state = 'LOADING'
    try {
      const loaded = await loadModel(place.path, key, pool.first, { ...o.load, budgetMs })
      if (old) sameSignature(old.signature, loaded.signature)
      const served = servedOf(place, key, withBatch(loaded, o.batch))
      await warmAll(pool, served)
      pool.add(served)
      Object.assign(entry, { served, state: 'READY', reason: '', checked: loaded.checked })
      o.told('loaded', {
        model: place.name,
        version: place.version,
        batch: served.stages.map((s) => s.tuning.size),
        checked: loaded.checked
      })
    } catch (error) {
      await pool.each((worker) => worker.ask({ do: 'close', key }))
      entry.reason = error instanceof Error ? error.message : String(error)
      if (!old) entry.state = 'UNAVAILABLE'
      o.told('not loaded', { model: place.name, version: place.version, reason: entry.reason })
      throw error
    }
    if (old) await retire(pool, old)
  }

  const drop = async (entry: Entry): Promise<void> => {
    const { served } = entry
    if (!served) return
    entry.state = 'UNLOADING'
    delete entry.served
    await retire(pool, served)
    Object.assign(entry, { state: 'UNAVAILABLE', reason: 'unloaded' })
  }

  const ofName = (name: string): Entry[] => entries.filter((e) => e.name === name)
  return {
    find: (name, version) => {
      const all = ofName(name)
      if (all.length === 0) throw new PareError('E_ABSENT', `there is no model ${name.slice(0, 200)}`)
      const entry = version === undefined ? newest(all) : all.find((e) => e.version === version)
      if (!entry) throw new PareError('E_ABSENT', `${name} has no version ${version?.slice(0, 40)}`)
      if (!entry.served) throw new PareError('E_BUSY', `${name} is not ready: ${entry.state}`)
      return entry.served
    },
    versions: (name) =>
      ofName(name)
        .filter((e) => e.served)
        .map((e) => e.version),
    get ready() {
      return entries.flatMap((e) => e.served ?? [])
    },
    entries,
    loadAll: () =>
      inTurn(async () => {
        for (const place of placesIn(o.path)) await bring(place, o.load.budgetMs)
      }),
    load: (name) =>
      inTurn(async () => {
        const places = placesIn(o.path).filter((p) => p.name === name)
        if (places.length === 0) throw new PareError('E_ABSENT', `there is no model ${name.slice(0, 200)}`)
        for (const place of places) await bring(place, o.reloadBudgetMs)
        for (const e of ofName(name)) if (!places.some((p) => p.version === e.version)) await drop(e)
      }),
    unload: (name) =>
      inTurn(async () => {
        if (ofName(name).length === 0) throw new PareError('E_ABSENT', `there is no model ${name.slice(0, 200)}`)
        for (const e of ofName(name)) await drop(e)
      })
  }
}

/** The highest number that is served, or that there is. */
const newest = (all: readonly Entry[]): Entry | undefined =>
  all.toSorted(
    (a, b) => Number(b.served !== undefined) - Number(a.served !== undefined) || Number(b.version) - Number(a.version)
  )[0]

const servedOf = (place: Place, key: string, { signature, stages: [first, ...rest] }: Loaded): Served => ({
  ...place,
  ...{ key, signature, stages: [stageOf(first), ...rest.map(stageOf)], statistics: statistics(), active: 0 }
})

const stageOf = ({ route, ...loaded }: LoadedStage): Stage => ({
  ...loaded,
  ...{ queues: queues<Part>(), done: { samples: 0, runs: 0 } },
  rates: new Map([['', (loaded.tuning.times.get(loaded.tuning.size) ?? 0) / loaded.tuning.size]]),
  ...(route ? { route: { ...route, answered: 0 } } : {})
})

/** A size that the user named is taken where samples may be joined at all. */
function withBatch(loaded: Loaded, size: number | undefined): Loaded {
  if (size === undefined) return loaded
  const sized = (stage: LoadedStage): LoadedStage => {
    const { tuning } = stage
    if (!tuning.isBatched) return stage
    const why = `${size} was asked for; measured: ${tuning.why}`
    return { ...stage, tuning: { ...tuning, size, piece: Math.max(size, tuning.piece), why } }
  }
  const [first, ...rest] = loaded.stages
  return { ...loaded, stages: [sized(first), ...rest.map(sized)] }
}

/** Opens it in every worker that has not yet. */
async function warmAll(pool: Pool, model: Served): Promise<void> {
  let isFirst = true
  await pool.each(async (worker) => {
    if (!isFirst) await openWarm(worker, model)
    isFirst = false
  })
}

/** Waits until nothing asks for a model any more, and closes it. */
async function retire(pool: Pool, model: Served): Promise<void> {
  while (model.active > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  await pool.remove(model)
}

/** Clients of a version go on as they are. Throws `E_DATA` where they could not. */
function sameSignature(old: Signature, fresh: Signature): void {
  const words = ({ inputs, outputs }: Signature): string =>
    [inputs, outputs]
      .map((ports) =>
        ports
          .map(
            (p) =>
              `${p.name} ${p.dtype} [${(p.shape ?? ['?']).map((d) => (typeof d === 'string' ? -1 : d)).join(', ')}]`
          )
          .join(', ')
      )
      .join(' → ')
  if (words(old) !== words(fresh))
    throw new PareError('E_DATA', 'the new file has other inputs or outputs', {
      facts: { served: words(old), new: words(fresh) },
      hint: 'give it a version of its own'
    })
}
