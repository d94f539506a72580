/** The list of targets: places where a model will live. */
import { hasEnding } from '../base/endings.ts'
import { PareError } from '../base/errors.ts'
import { nearest } from '../base/suggest.ts'
import { cmsisNn } from './cmsis-nn.ts'
import { coreml } from './coreml.ts'
import { deepLearning4J } from './dl4j.ts'
import { edgeTpu } from './edgetpu.ts'
import { esp32P4, esp32S3 } from './esp32.ts'
import { ethosU55, ethosU65, ethosU85 } from './ethos-u.ts'
import { litertCpu } from './litert-cpu.ts'
import { litertGpu } from './litert-gpu.ts'
import { nnapi } from './nnapi.ts'
import { nxpNeutron } from './nxp-neutron.ts'
import { openVinoCpu, openVinoNpu } from './openvino.ts'
import { ortCpu } from './ort-cpu.ts'
import { ortCpuArm } from './ort-cpu-arm.ts'
import { ortCpuAvx2 } from './ort-cpu-avx2.ts'
import { ortWasm } from './ort-wasm.ts'
import { ortWebGpu } from './ort-webgpu.ts'
import { pareC99 } from './pare-c99.ts'
import { pareWasm } from './pare-wasm.ts'
import { qnnHtp } from './qnn-htp.ts'
import { rk3588 } from './rk3588.ts'
import { tensorRt } from './tensorrt.ts'
import type { Target } from './types.ts'
import { webNn } from './webnn.ts'

export { conforms, inFormsOf, type Misfit, refuseMisfits } from './conforms.ts'
export { preflight } from './preflight.ts'

/** Every target, the default first. */
export const targets: readonly Target[] = [
  ortCpu,
  ortCpuAvx2,
  ortCpuArm,
  ortWasm,
  ortWebGpu,
  webNn,
  litertCpu,
  litertGpu,
  edgeTpu,
  ethosU55,
  ethosU65,
  ethosU85,
  cmsisNn,
  esp32S3,
  esp32P4,
  coreml,
  qnnHtp,
  nnapi,
  rk3588,
  nxpNeutron,
  tensorRt,
  openVinoCpu,
  openVinoNpu,
  pareWasm,
  pareC99,
  deepLearning4J
]

/** The target of a name or alias. Throws `E_USAGE` with suggestions. */
export function targetFor(name: string, known: readonly Target[] = targets): Target {
  const found = known.find((t) => t.name === name || t.aliases?.includes(name))
  if (found) return found
  const names = known.flatMap((t) => [t.name, ...(t.aliases ?? [])])
  const close = nearest(name, names)
  throw new PareError('E_USAGE', `there is no target ${name}`, {
    where: name,
    facts: { targets: names.join(', ') },
    ...(close ? { hint: `did you mean ${close}?` } : {})
  })
}

/** The target that a model's file is for where none is named: by the file's ending, else the first. */
export function targetOfFile(path: string, known: readonly Target[] = targets): Target {
  const found = known.find((t) => hasEnding(path, t.endings ?? [])) ?? known[0]
  if (!found) throw new PareError('E_USAGE', 'no target is known')
  return found
}
