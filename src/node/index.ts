/** Pare for Node: the core, and files, data on disk, the runtime and whole commands. */
export * from '../index.ts'
export {
  type CalibrateOptions,
  type Calibration,
  type Clock,
  calibrateTarget,
  quietMs,
  readCostModel,
  writeCostModel
} from './calibrate.ts'
export { standard } from './catalog.ts'
export { type CompressFileOptions, compressFile } from './compress-file.ts'
export { type OpenDataOptions, openDataset } from './dataset.ts'
export type { WorkerMessage, WorkerStart } from './federate/worker.ts'
export { fileBytes, load, loadNoted, type SaveOptions, save, sha256File, writeAtomic } from './files.ts'
export type { DataSource, Job, JobCommand, JobData, JobHooks, JobResult, SearchJob } from './job.ts'
export { runJob } from './jobs.ts'
export { liteRtRunner } from './litert-runner.ts'
export { measureProcess, type ProcessMeasurement, type ProcessOptions } from './measure.ts'
export { nodeRunner } from './runner.ts'
export { version } from './version.ts'
export { webRunner } from './web-runner.ts'
