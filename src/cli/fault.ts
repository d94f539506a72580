/** Errors as they are shown: what, the code on the right, aligned facts, and what to try. */
import { PareError } from '../base/errors.ts'
import { type Cell, cell, columns, type Style, width } from '../report/table.ts'
import { plain } from '../report/words.ts'

const codeColumn = 104

/** System errors that are the user's surroundings, not a bug of ours. */
const systemErrors: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOSPC: 'the disk is full',
  EDQUOT: 'the disk quota is used up',
  EISDIR: 'that is a folder, not a file',
  ENOTDIR: 'a part of the path is a file, not a folder',
  EMFILE: 'too many open files',
  ENAMETOOLONG: 'the name is too long',
  EFBIG: 'the file is larger than the file system allows',
  EIO: 'the disk reports an error'
}

/** What the system says of a failed call, in words. */
export function systemReason(thrown: unknown): string {
  const { code, message } = thrown as NodeJS.ErrnoException
  return (code === undefined ? undefined : systemErrors[code]) ?? message
}

/** Any thrown thing as one of our errors; what is none and no fault of the system's is a bug of ours. */
export function asPareError(thrown: unknown): PareError {
  if (thrown instanceof PareError) return thrown
  const e = thrown instanceof Error ? thrown : new Error(String(thrown))
  const { code, path } = e as NodeJS.ErrnoException
  const known = code === undefined ? undefined : systemErrors[code]
  if (known !== undefined)
    return new PareError('E_FILE', known, { cause: e, ...(path ? { facts: { file: path } } : {}) })
  if (code === 'ERR_WORKER_OUT_OF_MEMORY')
    return new PareError('E_LIMIT', 'out of memory', {
      cause: e,
      hint: 'fewer calibration samples, or NODE_OPTIONS=--max-old-space-size=8192'
    })
  return new PareError('E_INTERNAL', e.message, { cause: e, hint: 'this is a bug in Pare; --debug shows where' })
}

/** 1 for a bug of ours, 3 for an unmet constraint, 130 for stopped, else 2. */
export function statusOf(error: PareError): number {
  if (error.code === 'E_INTERNAL') return 1
  if (error.code === 'E_CONSTRAINT') return 3
  return error.code === 'E_ABORTED' ? 130 : 2
}

/** The text for a terminal. With `debug`, the stack too. */
export function printError(error: PareError, style: Style, debug = false): string {
  const [first = '', ...rest] = error.message.split('\n').map((line) => plain(line, 400))
  const head = `pare: ${first}`
  const space = ' '.repeat(Math.max(3, codeColumn - width(head) - width(error.code)))
  const facts: (readonly [string, string])[] = Object.entries(error.facts)
  const shown = facts.some(([, text]) => text === error.where)
  const rows = [
    ...(error.where && !shown && !error.message.includes(error.where) ? [['where', error.where] as const] : []),
    ...facts,
    ...(error.hint ? [['try', error.hint] as const] : [])
  ].map(([label, text]): Cell[] => [cell(plain(label, 40), style.dim), cell(plain(text, 600))])
  const lines = [
    `${style.bad('pare:')} ${first}${space}${style.dim(error.code)}`,
    ...rest.map((l) => `      ${l}`),
    ...columns(rows, 2, 2, [7])
  ]
  if (debug) lines.push('', ...stackOf(error).map((l) => style.dim(`  ${plain(l, 400)}`)))
  return `${lines.join('\n')}\n`
}

function stackOf(error: Error): string[] {
  const own = (error.stack ?? String(error)).split('\n')
  return error.cause instanceof Error ? [...own, 'caused by', ...stackOf(error.cause)] : own
}
