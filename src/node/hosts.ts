/**
 * Which names a server is called by. A page of a stranger can lead its own name to any address that its reader's browser reaches, but
 * not change `Host`, and an address is nobody's name.
 */
import { isIP } from 'node:net'
import { hostname } from 'node:os'

/** Whether an address, or a name that stands for one, is reached from this machine alone. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))

/** The name in a `Host` header, without its port and in lower case; `undefined` for what is none. IPv6 stands in brackets. */
export const nameIn = (host: string): string | undefined =>
  /^(\[[\da-f:.]+\]|[^\s:/?#@[\]]+)(:\d*)?$/i.exec(host)?.[1]?.toLowerCase()

/** What a server was told of its names: hosts (`.example.org` for all names below it), and origins of pages that may call. */
export interface Names {
  readonly hosts: readonly string[]
  readonly origins: readonly string[]
}

/**
 * Whether a server answers to a name in `Host`: its own, one that it was given, one of an allowed origin; beyond loopback that of the
 * machine and any address too.
 */
export function answersTo({ hosts, origins }: Names): (name: string, isLocal: boolean) => boolean {
  const given = hosts.map((host) => (isIP(host) === 6 ? `[${host}]` : host).toLowerCase())
  const allowed = origins.flatMap((origin) => (URL.canParse(origin) ? [new URL(origin).hostname] : []))
  const names = new Set(['localhost', '127.0.0.1', '[::1]', ...given, ...allowed])
  const below = given.filter((host) => host.startsWith('.'))
  const machine = hostname().toLowerCase()
  return (name, isLocal) =>
    names.has(name) ||
    below.some((end) => name.endsWith(end)) ||
    (!isLocal && (name === machine || isIP(name.replace(/^\[(.*)\]$/, '$1')) !== 0))
}
