/** Which names a server of this machine is called by. A page of a stranger can lead its own name to 127.0.0.1, but not change `Host`. */
import { isIP } from 'node:net'

/** Whether an address, or a name that stands for one, is reached from this machine alone. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))

/** The name in a `Host` header, without its port and in lower case; `undefined` for what is none. IPv6 stands in brackets. */
export const nameIn = (host: string): string | undefined =>
  /^(\[[\da-f:.]+\]|[^\s:/?#@[\]]+)(:\d*)?$/i.exec(host)?.[1]?.toLowerCase()

/** Names that a server of this machine answers to: its own, those that it was given, and those of allowed origins. */
export function namesOf(hosts: readonly string[], origins: readonly string[]): ReadonlySet<string> {
  const given = hosts.map((host) => (isIP(host) === 6 ? `[${host}]` : host).toLowerCase())
  const allowed = origins.flatMap((origin) => (URL.canParse(origin) ? [new URL(origin).hostname] : []))
  return new Set(['localhost', '127.0.0.1', '[::1]', ...given, ...allowed])
}
