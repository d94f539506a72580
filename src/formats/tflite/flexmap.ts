/**
 * The numbers of a map in the FlexBuffers format, in which custom operators keep their options. (The npm package `flatbuffers` does
 * not find every key of a map, and spreads out all of what it points at.) Format: https://flatbuffers.dev/internals/#flexbuffers
 */

/** Types of values, of which a number is any but the map. */
const [int, uint, floating, map, indirectInt, indirectUint, indirectFloat, bool] = [1, 2, 3, 9, 6, 7, 8, 26]

/** Numbers and truth values (1, 0) by key; other values are left out. Throws a `RangeError` for what is no such map. */
export function flexMap(bytes: Uint8Array): ReadonlyMap<string, number> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const unsigned = (at: number, width: number): number =>
    width === 1
      ? view.getUint8(at)
      : width === 2
        ? view.getUint16(at, true)
        : width === 4
          ? view.getUint32(at, true)
          : Number(view.getBigUint64(at, true))
  const signed = (at: number, width: number): number =>
    width === 1
      ? view.getInt8(at)
      : width === 2
        ? view.getInt16(at, true)
        : width === 4
          ? view.getInt32(at, true)
          : Number(view.getBigInt64(at, true))
  const real = (at: number, width: number): number =>
    width === 8 ? view.getFloat64(at, true) : view.getFloat32(at, true)
  const back = (at: number, width: number): number => at - unsigned(at, width)
  const number = (at: number, width: number, packed: number): number | undefined => {
    const [type, own] = [packed >> 2, 1 << (packed & 3)]
    if (type === int) return signed(at, width)
    if (type === uint || type === bool) return unsigned(at, width)
    if (type === floating) return real(at, width)
    if (type === indirectInt) return signed(back(at, width), own)
    if (type === indirectUint) return unsigned(back(at, width), own)
    return type === indirectFloat ? real(back(at, width), own) : undefined
  }
  const text = (at: number): string => {
    const end = bytes.indexOf(0, at)
    if (at < 0 || end < 0) throw new RangeError('a key without an end')
    return new TextDecoder().decode(bytes.subarray(at, end))
  }

  const [rootType, rootWidth] = [view.getUint8(bytes.length - 2), view.getUint8(bytes.length - 1)]
  if (rootType >> 2 !== map) throw new RangeError('no map')
  const values = back(bytes.length - 2 - rootWidth, rootWidth)
  const width = 1 << (rootType & 3)
  const count = unsigned(values - width, width)
  if (count > bytes.length) throw new RangeError('more keys than bytes')
  const keys = back(values - 3 * width, width)
  const keyWidth = unsigned(values - 2 * width, width)
  const out = new Map<string, number>()
  for (let i = 0; i < count; i++) {
    const value = number(values + i * width, width, view.getUint8(values + count * width + i))
    if (value !== undefined) out.set(text(back(keys + i * keyWidth, keyWidth)), value)
  }
  return out
}
