/** What a model keeps of the archive that it was read from, so that it can be written as one again. */
import type { Model, Origin } from '../../types.ts'
import { type Archive, configurationName, normalizerName } from './archive.ts'
import type { Dialect, FlatArray, Numbers } from './arrays.ts'
import type { Built } from './build.ts'
import type { Sizes } from './inputs.ts'
import { type Normalizer, readNormalizer } from './normalizer.ts'

export const formatName = 'dl4j'

export interface Facts {
  readonly type: Numbers
  readonly rank: number
  readonly dialect: Dialect
  /** See `convLayers`. */
  readonly turned1d: boolean
  readonly sizes?: Sizes
  /** It is in the graph. */
  readonly normalizer?: Normalizer
}

export function originOf(archive: Archive, flat: FlatArray, built: Built, facts: Facts): Origin {
  const { turned1d, sizes, normalizer } = facts
  const unused = built.unused.map(({ key, at, count }) => {
    const values = flat.values.slice(at, at + count)
    return [key, new Uint8Array(values.buffer)] as const
  })
  return {
    format: formatName,
    header: {
      type: flat.type,
      rank: String(flat.rank),
      dialect: flat.dialect,
      conv1d: turned1d ? 'M1' : 'beta7',
      ...(sizes ? { sizes: JSON.stringify(sizes) } : {}),
      ...(normalizer ? { normalizer: 'graph' } : {})
    },
    parts: {
      [configurationName]: new TextEncoder().encode(archive.configuration),
      ...(archive.normalizer ? { [normalizerName]: archive.normalizer } : {}),
      ...Object.fromEntries(unused)
    }
  }
}

/** The facts of a model's origin. */
export function factsOf({ origin }: Model): Facts {
  const { type, rank, dialect, conv1d, sizes, normalizer } = origin?.header ?? {}
  const stored = origin?.parts?.[normalizerName]
  const read = normalizer === 'graph' && stored ? readNormalizer(stored) : undefined
  return {
    type: (type ?? 'FLOAT') as Numbers,
    rank: Number(rank ?? 1),
    dialect: (dialect ?? 'MIXED_DATA_TYPES') as Dialect,
    turned1d: conv1d === 'M1',
    ...(sizes ? { sizes: JSON.parse(sizes) as Sizes } : {}),
    ...(read?.shift ? { normalizer: read } : {})
  }
}
