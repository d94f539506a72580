/** The zip that `ModelSerializer` writes: its entries, looked up by name and judged by their header before they are inflated. */
import { PareError } from '../../base/errors.ts'
import { content, directory, type Entry, isZip } from '../../base/zip.ts'
import type { Bytes } from '../../types.ts'

export const configurationName = 'configuration.json'
export const coefficientsName = 'coefficients.bin'
export const normalizerName = 'normalizer.bin'

const maxConfigurationBytes = 64 * 1024 * 1024
/** Weights above this are not read. */
const maxArrayBytes = 2 ** 31 - 1

export interface Archive {
  readonly configuration: string
  readonly coefficients: Uint8Array
  readonly normalizer?: Uint8Array
  /** Names of the entries that are none of these. */
  readonly others: readonly string[]
}

/** Does a file begin as `ModelSerializer` begins one? Any zip whose first entry is one of an archive's. */
export function looksLikeArchive(head: Uint8Array): boolean {
  if (!isZip(head)) return false
  const view = new DataView(head.buffer, head.byteOffset, head.length)
  const length = head.length < 30 ? 0 : view.getUint16(26, true)
  const name = new TextDecoder().decode(head.subarray(30, 30 + length))
  return [configurationName, coefficientsName, normalizerName, 'updaterState.bin', 'noParams.marker'].includes(name)
}

/** Opens an archive. Throws `E_FORMAT` where it is not a whole one, `E_LIMIT` where an entry is larger than what is read. */
export function openArchive(bytes: Bytes): Archive {
  return asFormat(() => {
    const { entries, end } = directory(bytes, 'the archive')
    const seen = new Set<string>()
    for (const { name } of entries) {
      if (seen.has(name)) throw new PareError('E_FORMAT', 'two entries of one name', { where: name })
      seen.add(name)
    }
    const find = (name: string): Entry | undefined => entries.find((e) => e.name === name)
    const configuration = find(configurationName)
    if (!configuration)
      throw new PareError('E_FORMAT', `a zip without ${configurationName} is no archive of DeepLearning4J`, {
        facts: {
          entries: entries
            .map((e) => e.name)
            .slice(0, 8)
            .join(', ')
        }
      })
    const [coefficients, normalizer] = [find(coefficientsName), find(normalizerName)]
    if (!coefficients && !find('noParams.marker'))
      throw new PareError('E_FORMAT', `the archive holds no ${coefficientsName}`)
    const take = (entry: Entry, max: number): Uint8Array => {
      if (entry.method !== 0 && entry.method !== 8)
        throw new PareError('E_FORMAT', `compression method ${entry.method}; stored and deflate are known`, {
          where: entry.name
        })
      if (entry.method === 0 && entry.size !== entry.compressed)
        throw new PareError('E_FORMAT', 'the zip directory contradicts itself', { where: entry.name })
      const made = content(bytes, entry, end, entry.name, max)
      // What is stored as it is lies in the file's own memory, and arrays are turned in place.
      return entry.method === 0 ? new Uint8Array(made) : made
    }
    return {
      configuration: new TextDecoder().decode(take(configuration, maxConfigurationBytes)),
      coefficients: coefficients ? take(coefficients, maxArrayBytes) : new Uint8Array(0),
      ...(normalizer ? { normalizer: take(normalizer, maxConfigurationBytes) } : {}),
      others: entries
        .map((e) => e.name)
        .filter((name) => ![configurationName, coefficientsName, normalizerName].includes(name))
    }
  })
}

/** What is damaged data to the zip reader is a damaged model here. */
function asFormat<T>(run: () => T): T {
  try {
    return run()
  } catch (error) {
    if (!(error instanceof PareError) || error.code !== 'E_DATA') throw error
    const { message, where, facts, cause } = error
    throw new PareError('E_FORMAT', message, {
      facts,
      cause,
      ...(where === undefined ? {} : { where }),
      hint: 'is the file cut off or changed on its way?'
    })
  }
}
