/** The samples and streams of this example, made once and kept in `.cache` by settings and source. */
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { zipSync } from 'fflate'
import { rng } from '../../dist/node/index.js'
import { bands, frames, logMel, logMelStream } from './features.mjs'
import { labelsFor, noiseTracks, scene, stream } from './scenes.mjs'
import { spoken } from './synth.mjs'
import { writeWave } from './wave.mjs'

const here = (name) => fileURLToPath(new URL(name, import.meta.url))

/**
 * The folder that holds it all: PART.npz for train, select and test; of the streams of select and test their features
 * (PART.features, float32), what was said when (PART.json) and the sound of the first minute (PART.wav).
 */
export async function prepared(settings, tell) {
  const sources = ['features', 'words', 'synth', 'scenes', 'wave', 'data'].map((name) =>
    readFileSync(here(`${name}.mjs`))
  )
  const key = createHash('sha256').update(JSON.stringify(settings)).update(Buffer.concat(sources)).digest('hex')
  const folder = here(`.cache/${key.slice(0, 12)}`)
  if (existsSync(folder)) return folder
  const unfinished = `${folder}.unfinished`
  rmSync(unfinished, { recursive: true, force: true })
  mkdirSync(unfinished, { recursive: true })
  for (const part of ['train', 'select', 'test']) await make(part, settings, unfinished, tell)
  renameSync(unfinished, folder)
  return folder
}

async function make(part, settings, folder, tell) {
  const { samples, minutes, ...voices } = settings[part]
  const random = rng(`${settings.seed} ${part}`)
  tell(`${part}: ${voices.takes} takes of espeak-ng`)
  const bank = await spoken(part, { ...voices, seed: settings.seed })
  const set = { bank, noise: noiseTracks(bank, random, part === 'test'), signalToNoise: settings.signalToNoise }
  tell(`${part}: ${samples} samples of one second`)
  const labels = labelsFor(samples, random)
  const features = new Float32Array(samples * frames * bands)
  for (const [i, label] of labels.entries()) features.set(logMel(scene(label, set, random)), i * frames * bands)
  writeFileSync(join(folder, `${part}.npz`), npz(features, labels))
  if (minutes === 0) return
  tell(`${part}: a stream of ${minutes} minutes`)
  const [heard, said, sounds] = [[], [], []]
  const listen = logMelStream()
  for (const piece of stream(minutes, set, random)) {
    heard.push(Buffer.from(listen(piece.samples).buffer))
    said.push(...piece.said)
    if (sounds.length < 4) sounds.push(Buffer.from(piece.samples.buffer))
  }
  const minute = Buffer.concat(sounds)
  writeFileSync(join(folder, `${part}.features`), Buffer.concat(heard))
  writeFileSync(join(folder, `${part}.json`), JSON.stringify({ hours: minutes / 60, said }))
  writeFileSync(
    join(folder, `${part}.wav`),
    writeWave(new Float32Array(minute.buffer, minute.byteOffset, minute.length / 4))
  )
}

function npz(features, labels) {
  const x = npy('<f4', [labels.length, 1, frames, bands], features)
  const y = npy('<i4', [labels.length], Int32Array.from(labels))
  return zipSync({ 'x.npy': x, 'y.npy': y }, { level: 0 })
}

/** NumPy's array file: magic, version 1.0, a header padded to 64 bytes, the numbers. */
function npy(descr, shape, values) {
  const header = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`
  const length = Math.ceil((header.length + 11) / 64) * 64 - 10
  const head = Buffer.from(`\x93NUMPY\x01\x00..${header.padEnd(length - 1)}\n`, 'latin1')
  head.writeUInt16LE(length, 8)
  return Buffer.concat([head, new Uint8Array(values.buffer)])
}
