/** The layout that a layer is configured for, as axes. */
import { type Conf, text } from '../conf.ts'
import type { Net, Signal } from '../net.ts'

export const imageAxes = (c: Conf, name = 'cnn2dDataFormat'): string =>
  text(c, name, 'NCHW') === 'NHWC' ? 'NHWC' : 'NCHW'
export const volumeAxes = (c: Conf): string => (text(c, 'dataFormat', 'NCDHW') === 'NDHWC' ? 'NDHWC' : 'NCDHW')
export const seriesAxes = (c: Conf, name = 'rnnDataFormat'): string => (text(c, name, 'NCW') === 'NWC' ? 'NTC' : 'NCT')

/** Throws where values do not have the axes that the layer is configured for. */
export function wants(net: Net, x: Signal, axes: string): void {
  if (x.axes === axes) return
  throw net.fail(`it is configured for values of the axes ${axes}, and gets ${x.axes}`)
}
