/** A folder as transformers.js reads it: configuration at the top, models in `onnx/`, weights in `FILE_data` beside them. */

import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { PareError } from '../../base/errors.ts'
import { listed } from '../../base/listed.ts'
import type { InputFacts } from '../../search/made-inputs.ts'
import { isOriginal } from '../../search/presets.ts'

/** An original model of a folder: its name without `.onnx`. */
export interface FolderModel {
  readonly name: string
  readonly path: string
}

/** What `config.json` says that concerns model files. */
export interface FolderConfig {
  readonly inputs: InputFacts
  /** Files of weights that will be asked for beside a model file; `undefined`: nothing is said. */
  weightFiles(file: string, model: string): number | undefined
}

/** The original models of a folder, by name. Throws `E_FILE` where there are none. */
export function modelsIn(folder: string): readonly FolderModel[] {
  const inside = join(folder, 'onnx')
  if (!statSync(inside, { throwIfNoEntry: false })?.isDirectory())
    throw new PareError('E_FILE', 'this is no folder of transformers.js: it has no folder onnx', {
      where: folder,
      hint: 'config.json and tokenizer.json in FOLDER, model.onnx in FOLDER/onnx'
    })
  const names = readdirSync(inside)
    .filter((file) => file.endsWith('.onnx') && !file.startsWith('.'))
    .map((file) => basename(file, '.onnx'))
    .sort()
  const models = names.filter((name) => isOriginal(name, names))
  if (models.length === 0) throw new PareError('E_FILE', 'the folder onnx holds no model', { where: inside })
  return models.map((name) => ({ name, path: join(inside, `${name}.onnx`) }))
}

/** Reads `config.json`; a folder without one says nothing. Throws `E_FORMAT` where it is no JSON. */
export function configIn(folder: string): FolderConfig {
  const path = join(folder, 'config.json')
  const config = existsSync(path) ? parsed(path) : {}
  const vision = record(config['vision_config'])
  const said = record(config['transformers.js_config'])['use_external_data_format']
  const facts = {
    vocabulary: count(config['vocab_size']) ?? count(record(config['text_config'])['vocab_size']),
    imageSize: count(config['image_size']) ?? count(vision['image_size']),
    channels: count(config['num_channels']) ?? count(vision['num_channels']),
    melBins: count(config['num_mel_bins'])
  }
  return {
    inputs: Object.fromEntries(Object.entries(facts).filter(([, n]) => n !== undefined)),
    weightFiles: (file, model) => {
      if (said === undefined || said === null) return undefined
      if (typeof said !== 'object') return Number(said)
      const byFile = record(said)
      return Number(byFile[file] ?? byFile[model] ?? 0)
    }
  }
}

function parsed(path: string): Readonly<Record<string, unknown>> {
  try {
    return record(JSON.parse(readFileSync(path, 'utf8')))
  } catch (cause) {
    throw new PareError('E_FORMAT', 'this is no JSON', { where: path, cause })
  }
}

const record = (x: unknown): Readonly<Record<string, unknown>> =>
  typeof x === 'object' && x !== null ? (x as Record<string, unknown>) : {}

/** Sizes come from a stranger's file: those beyond sense say nothing. */
const count = (x: unknown): number | undefined =>
  typeof x === 'number' && Number.isInteger(x) && x > 0 && x <= 1_000_000 ? x : undefined

// ---------------------------------------------------------------- writing

/** A folder in the making, inside the one that its files will lie in. */
export interface Staging {
  path(file: string): string
  /** Moves files into the folder, in order. What was put there for the first time is taken away again where one fails. */
  place(files: readonly string[], force: boolean): void
  remove(): void
}

/** Makes the folder where it is missing. Throws `E_FILE` where nothing can be written there. */
export function stagingIn(folder: string): Staging {
  let inside: string
  try {
    mkdirSync(folder, { recursive: true })
    inside = mkdtempSync(join(folder, '.pare-'))
  } catch (cause) {
    throw new PareError('E_FILE', 'nothing can be written in this folder', { where: folder, cause })
  }
  return {
    path: (file) => join(inside, file),
    place: (files, force) => {
      refuseExisting(folder, files, force)
      const isNew = files.filter((file) => !existsSync(join(folder, file)))
      try {
        for (const file of files) renameSync(join(inside, file), join(folder, file))
      } catch (cause) {
        for (const file of isNew) rmSync(join(folder, file), { force: true })
        throw new PareError('E_FILE', 'the files cannot be put in place', { where: folder, cause })
      }
    },
    remove: () => rmSync(inside, { recursive: true, force: true })
  }
}

/** Throws `E_EXISTS` without `force` where one of the files is there already. */
export function refuseExisting(folder: string, files: readonly string[], force: boolean): void {
  const there = force ? [] : files.filter((file) => existsSync(join(folder, file)))
  if (there.length === 0) return
  throw new PareError('E_EXISTS', 'files of the family exist already', {
    where: folder,
    facts: { files: listed(there, 4) },
    hint: '--force to overwrite them, --only for other types, or --out with another folder'
  })
}
