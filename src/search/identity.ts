/** What tells one job's trials from another's. */
import { quickHash, toArray } from '../base/bytes.ts'
import { firstRun } from '../runtime/batches.ts'
import type { Dataset } from '../types.ts'
import type { CompressInput } from './input.ts'
import type { Identity } from './trial.ts'

/** All that a trial's figures depend on beside its recipe. */
export async function identityOf(input: CompressInput): Promise<Identity> {
  const { engine, measured, target, threads, metrics, data, train, synthetic } = input
  return {
    ...input.identity,
    engine: `${engine.name} ${engine.version}`,
    measured: measured ? `${measured.name} ${measured.version}` : 'none',
    target: target.name,
    threads,
    metrics: metrics.map((m) => m.name).join(', '),
    synthetic,
    'calibration data': await fingerprint(data.calibration),
    'selection data': await fingerprint(data.selection),
    ...(train ? { 'training data': await fingerprint(train) } : {})
  }
}

/** By the files where their hash is known, and by the first samples as they come, prepared and ordered. */
export async function fingerprint(dataset: Dataset): Promise<string> {
  const { inputs, labels } = (await firstRun(dataset, { size: 8, isFixed: false })).batch
  const hashes = Object.entries(inputs).map(([name, t]) => [name, t.dtype, t.shape, quickHash(toArray(t.bytes))])
  const first = quickHash(new TextEncoder().encode(JSON.stringify([hashes, labels])))
  return `${dataset.size} samples, ${dataset.sha256 ?? 'no hash'}, ${first}`
}
