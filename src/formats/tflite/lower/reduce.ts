/** Reductions, and searching along an axis. */
import { attrInt, attrInts } from '../../../ir/attrs.ts'
import { ints, tensor, toNumbers } from '../../../ir/tensor.ts'
import { type Rule, type Rules, refuse, type Site } from './site.ts'

function axesOf(s: Site): readonly number[] {
  const rank = s.dims(0).length
  const data = s.constant(1)
  if (s.has(1) && !data) refuse('axes that are computed')
  const given = data ? ints(data) : (attrInts(s.node, 'axes') ?? [])
  const all = given.length > 0 || attrInt(s.node, 'noop_with_empty_axes', 0) !== 0 ? given : [...s.dims(0).keys()]
  return all.map((a) => (a < 0 ? a + rank : a))
}

const reduced =
  (code: string): Rule =>
  (s) => {
    const axes = axesOf(s)
    if (axes.length === 0) {
      s.onnx('Identity', [s.id(0)], {}, s.y)
      return
    }
    s.op(code, [s.id(0), s.ints(axes)], { keep_dims: attrInt(s.node, 'keepdims', 1) }, s.y)
  }

/** √Σx² over some axes. */
function norm2(s: Site): void {
  const { shape } = s.y
  const square = s.op('MUL', [s.id(0), s.id(0)], {}, { shape: s.dims(0) })
  const axes = s.ints(axesOf(s))
  s.op('SQRT', [s.op('SUM', [square, axes], { keep_dims: attrInt(s.node, 'keepdims', 1) }, { shape })], {}, s.y)
}

function norm1(s: Site): void {
  const size = s.op('ABS', [s.id(0)], {}, { shape: s.dims(0) })
  s.op('SUM', [size, s.ints(axesOf(s))], { keep_dims: attrInt(s.node, 'keepdims', 1) }, s.y)
}

/** The axis goes; where it is to stay, with size 1, a RESHAPE brings it back. */
const argument =
  (code: string): Rule =>
  (s) => {
    const x = s.dims(0)
    const at = attrInt(s.node, 'axis', 0)
    const axis = at < 0 ? at + x.length : at
    const { shape, as, dtype } = s.y
    if (attrInt(s.node, 'select_last_index', 0) !== 0) refuse('the last of equal places')
    const place = s.data(tensor('int32', [], [axis]))
    const fields = { output_type: 'INT64' }
    if (attrInt(s.node, 'keepdims', 1) === 0) {
      s.op(code, [s.id(0), place], fields, { shape, as, dtype })
      return
    }
    const made = s.op(code, [s.id(0), place], fields, { shape: shape.toSpliced(axis, 1), dtype })
    s.op('RESHAPE', [made, s.ints(shape)], { new_shape: shape }, { shape, as, dtype })
  }

function topK(s: Site): void {
  const x = s.dims(0)
  const at = attrInt(s.node, 'axis', -1)
  const count = s.constant(1)
  if ((at + x.length) % x.length !== x.length - 1) refuse('the largest along another axis than the last')
  if (!count || attrInt(s.node, 'largest', 1) === 0) refuse('the smallest, or as many as is computed')
  const [values = '', places = ''] = s.node.outputs
  const { draft } = s
  const narrow = draft.fresh(`${places}_int32`)
  draft.addNode({
    name: draft.fresh(s.node.name),
    op: 'TOPK_V2',
    domain: 'tflite',
    inputs: [s.id(0), s.data(tensor('int32', [], [Number(toNumbers(count)[0])]))],
    outputs: [values, narrow],
    attrs: {}
  })
  const shape = s.y.shape
  draft.set({ id: narrow, type: 'tensor', dtype: 'int32', shape })
  if (places)
    s.op('CAST', [narrow], { in_data_type: 'INT32', out_data_type: 'INT64' }, { shape, dtype: 'int64', as: places })
}

function cumulated(s: Site): void {
  const axis = s.constant(1)
  if (!axis) refuse('an axis that is computed')
  const at = s.data(tensor('int32', [], [Number(toNumbers(axis)[0])]))
  const fields = { exclusive: attrInt(s.node, 'exclusive', 0), reverse: attrInt(s.node, 'reverse', 0) }
  s.op('CUMSUM', [s.id(0), at], fields, s.y)
}

/** The file would keep the state from run to run. */
const recurrent = (s: Site): never => refuse(`a recurrent layer ${s.node.op}, whose state a file keeps from run to run`)

export const reduceRules: Rules = {
  ReduceMean: reduced('MEAN'),
  ReduceSum: reduced('SUM'),
  ReduceProd: reduced('REDUCE_PROD'),
  ReduceMax: reduced('REDUCE_MAX'),
  ReduceMin: reduced('REDUCE_MIN'),
  ReduceL2: norm2,
  ReduceL1: norm1,
  ArgMax: argument('ARG_MAX'),
  ArgMin: argument('ARG_MIN'),
  TopK: topK,
  CumSum: cumulated,
  LSTM: recurrent,
  GRU: recurrent,
  RNN: recurrent
}
