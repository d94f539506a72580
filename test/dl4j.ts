/** Archives of DeepLearning4J for tests: those beside the checkout, and small ones made of a configuration and numbers. */
import { readdirSync, readFileSync } from 'node:fs'
import { strToU8, zipSync } from 'fflate'
import { readNpz } from '../src/data/npz.ts'
import { writeArray } from '../src/formats/dl4j/arrays.ts'
import type { Tensor } from '../src/types.ts'
import { sharedData } from './shared.ts'

/** An archive with inputs and DL4J's own outputs for them. */
export interface Fixture {
  readonly name: string
  readonly bytes: Uint8Array
  readonly arrays: (name: string) => Tensor | undefined
  /** Height and width of its images, as the reader takes them. */
  readonly imageSize: string | undefined
  readonly isHalf: boolean
  readonly isNormalized: boolean
}

interface Facts {
  readonly inputs: readonly { readonly shape: readonly number[]; readonly layout?: string }[]
}

/** Names of all; none where the folder is absent. */
export const fixtureNames = (): readonly string[] => {
  const folder = sharedData('dl4j')
  return folder
    ? readdirSync(folder)
        .filter((f) => f.endsWith('.zip'))
        .map((f) => f.slice(0, -4))
    : []
}

export function fixture(name: string): Fixture {
  const file = (ending: string): Uint8Array => new Uint8Array(readFileSync(`${sharedData('dl4j')}/${name}${ending}`))
  const facts = JSON.parse(new TextDecoder().decode(file('.json'))) as Facts
  const image = facts.inputs.find(({ shape }) => shape.length > 3)
  const arrays = readNpz(file('.npz'), name)
  return {
    name,
    bytes: file('.zip'),
    arrays: (array) => arrays.get(array)?.(),
    imageSize: image && (image.layout?.endsWith('C') ? image.shape.slice(1, -1) : image.shape.slice(2)).join('x'),
    isHalf: name.endsWith('half'),
    isNormalized: name.includes('norm-')
  }
}

/** A layer as a release from beta3 on writes it. */
export const layer = (kind: string, fields: object): object => ({
  '@class': `org.deeplearning4j.nn.conf.layers.${kind}`,
  ...fields
})
export const activation = (name: string): object => ({ '@class': `org.nd4j.linalg.activations.impl.Activation${name}` })

/** A MultiLayerNetwork of these layers and numbers. */
export const archive = (layers: readonly object[], numbers: ArrayLike<number>, rest: object = {}): Uint8Array =>
  zip({
    'configuration.json': JSON.stringify({ confs: layers.map((l) => ({ layer: l })), inputPreProcessors: {}, ...rest }),
    'coefficients.bin': writeArray(Float32Array.from(numbers), 'FLOAT', 1)
  })

export const zip = (entries: Readonly<Record<string, string | Uint8Array>>): Uint8Array =>
  zipSync(
    Object.fromEntries(Object.entries(entries).map(([name, x]) => [name, typeof x === 'string' ? strToU8(x) : x])),
    { mtime: '1980-01-01' }
  )
