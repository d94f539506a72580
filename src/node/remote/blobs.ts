/** Files under the hash of their content: in Redis in pieces, and in a folder of the worker once they were fetched. */
import { createHash, randomUUID } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { PareError } from '../../base/errors.ts'
import type { Bytes } from '../../types.ts'
import { keepSeconds, prefix, sha256 } from './connection.ts'

type Redis = import('ioredis').Redis

const piece = 512 * 1024
/** A file at most. */
const mostBytes = 2 * 1024 ** 3

const pieceKey = (hash: string, i: number): string => `${prefix}:blob:${hash}:${i}`
const sizeKey = (hash: string): string => `${prefix}:blob:${hash}`

/** Puts a file there, once; returns its hash. Throws `E_LIMIT`. */
export async function putBlob(redis: Redis, bytes: Bytes): Promise<string> {
  if (bytes.length > mostBytes)
    throw new PareError('E_LIMIT', `a file of ${bytes.length} bytes; workers are sent ${mostBytes} at most`)
  const hash = createHash('sha256')
  const count = Math.ceil(bytes.length / piece)
  for (let i = 0; i < count; i++) hash.update(bytes.slice(i * piece, Math.min(bytes.length, (i + 1) * piece)))
  const id = hash.digest('hex')
  if ((await redis.get(sizeKey(id))) === `${bytes.length}`) {
    for (let i = 0; i < count; i++) await redis.expire(pieceKey(id, i), keepSeconds)
    await redis.expire(sizeKey(id), keepSeconds)
    return id
  }
  for (let i = 0; i < count; i++) {
    const part = bytes.slice(i * piece, Math.min(bytes.length, (i + 1) * piece))
    await redis.set(pieceKey(id, i), Buffer.from(part.buffer, part.byteOffset, part.byteLength), 'EX', keepSeconds)
  }
  await redis.set(sizeKey(id), `${bytes.length}`, 'EX', keepSeconds)
  return id
}

/** Path of a file by its hash, which is what it holds. Throws `E_ABSENT` and `E_DATA`. */
export async function fetchBlob(redis: Redis, hash: string, folder: string): Promise<string> {
  if (!/^[0-9a-f]{64}$/.test(hash)) throw new PareError('E_DATA', 'this is no hash of a file', { where: hash })
  const path = join(folder, hash)
  if (existsSync(path) && sha256(readFileSync(path)) === hash) return path
  const size = Number(await redis.get(sizeKey(hash)))
  if (!Number.isSafeInteger(size) || size <= 0)
    throw new PareError('E_ABSENT', 'this file is not in Redis', { where: hash })
  if (size > mostBytes) throw new PareError('E_LIMIT', `a file of ${size} bytes`, { where: hash })
  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const made = `${path}.${randomUUID()}`
  const check = createHash('sha256')
  const file = await open(made, 'wx', 0o600)
  try {
    for (let at = 0, i = 0; at < size; i++) {
      const part = await redis.getBuffer(pieceKey(hash, i))
      if (!part || part.length !== Math.min(piece, size - at))
        throw new PareError('E_DATA', 'a piece of this file is missing or has another length', { where: hash })
      check.update(part)
      await file.write(part)
      at += part.length
    }
    await file.sync()
    if (check.digest('hex') !== hash)
      throw new PareError('E_DATA', 'this file does not hold what its hash says', { where: hash })
  } catch (e) {
    rmSync(made, { force: true })
    throw e
  } finally {
    await file.close()
  }
  renameSync(made, path)
  return path
}
