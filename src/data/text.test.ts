import { describe, expect, it } from 'vitest'
import { toNumbers } from '../ir/tensor.ts'
import { firstRun } from '../runtime/batches.ts'
import type { Batch, Dataset } from '../types.ts'
import { splitData } from './split.ts'
import { type Encoder, parseTexts, textDataset, textInputs } from './text.ts'

const port = (
  name: string,
  shape: readonly (number | string)[] = ['N', 'T'],
  dtype: 'int64' | 'int32' | 'float32' = 'int64'
) => ({
  ...{ name, dtype, shape }
})
/** A token a letter, by its place in the alphabet; 99 pads. */
const letters: Encoder = {
  title: 'letters',
  padding: 99,
  padsLeft: false,
  marks: { ids: [0] },
  most: { tokens: 5, by: 'this test' },
  sha256: '',
  encode: (text, pair, most) => {
    const ids = [...text, ...(pair ?? '')].map((c) => c.charCodeAt(0) - 96).slice(0, most)
    return { ids, segments: ids.map((_, i) => (i < text.length ? 0 : 1)) }
  }
}
const texts = (...all: string[]) => all.map((text, i) => ({ text, line: i + 1 }))
const open = (all: readonly string[], inputs: Parameters<typeof textDataset>[2], encoder = letters) =>
  textDataset(texts(...all), encoder, inputs, { where: 't.txt' })

async function batchesOf(d: Dataset, batch: number, indices?: readonly number[]): Promise<Batch[]> {
  const out: Batch[] = []
  for await (const b of d.batches({ batch, ...(indices ? { indices } : {}) })) out.push(b)
  return out
}
const rows = (b: Batch | undefined) =>
  Object.fromEntries(Object.entries(b?.inputs ?? {}).map(([name, t]) => [name, [...toNumbers(t)]]))

describe('texts as samples', () => {
  const bert = [port('input_ids'), port('attention_mask'), port('token_type_ids'), port('position_ids')]

  it('gives ids, mask, segments and positions, in runs of one length and in the order of the file', async () => {
    const d = open(['ab', 'cd', 'e', 'fg'], bert)
    const all = await batchesOf(d, 32)
    expect(all.map((b) => b.inputs['input_ids']?.shape)).toEqual([
      [2, 2],
      [1, 1],
      [1, 2]
    ])
    expect(rows(all[0])).toEqual({
      input_ids: [1, 2, 3, 4],
      attention_mask: [1, 1, 1, 1],
      token_type_ids: [0, 0, 0, 0],
      position_ids: [0, 1, 0, 1]
    })
    expect((await batchesOf(d, 32, [3, 0])).map((b) => b.n)).toEqual([2])
    expect(rows((await batchesOf(d, 32, [3, 0]))[0])['input_ids']).toEqual([6, 7, 1, 2])
    expect(d.notes?.[0]).toContain('1 to 2 tokens long, median 2')
  })

  it('cuts and pads to the length that the model fixes, on the side of the tokenizer', async () => {
    const fixed = [port('input_ids', ['N', 3], 'int32'), port('attention_mask', ['N', 3], 'float32')]
    const all = await batchesOf(open(['ab', 'cdefg'], fixed), 32)
    expect(rows(all[0])).toEqual({ input_ids: [1, 2, 99, 3, 4, 5], attention_mask: [1, 1, 0, 1, 1, 1] })
    expect(all[0]?.inputs['attention_mask']?.dtype).toBe('float32')
    const left = await batchesOf(open(['ab'], fixed, { ...letters, padsLeft: true }), 1)
    expect(rows(left[0])).toEqual({ input_ids: [99, 1, 2], attention_mask: [0, 1, 1] })
  })

  it('stands for all by a text of median length, in every part of the data', async () => {
    const d = open(['abcde', 'a', 'abc', 'ab', 'abcd'], bert)
    expect((await firstRun(d, { size: 1, isFixed: false })).batch.inputs['input_ids']?.shape).toEqual([1, 3])
    const { test } = splitData(open(['abcd', 'a', 'ab', 'abc', 'abcde', 'a', 'ab', 'abc', 'abcd', 'abcde'], bert), 0)
    const own = (await batchesOf(test, 1)).map((b) => b.inputs['input_ids']?.shape[1] as number).sort()
    const taken = (await firstRun(test, { size: 1, isFixed: false })).batch.inputs['input_ids']?.shape[1]
    expect(taken).toBe(own[Math.floor((own.length - 1) / 2)])
  })

  it('takes an only input of integers as ids, and says what it cannot serve', () => {
    expect([...textInputs([port('x')], 't.txt')]).toEqual([['x', 'ids']])
    expect(() => textInputs([port('x', ['N', 3, 32, 32], 'float32')], 't.txt')).toThrow('the model takes no texts')
    expect(() => textInputs([port('input_ids'), port('pixel_values', ['N', 3], 'float32')], 't.txt')).toThrow(
      'texts give nothing for the model’s input pixel_values'.replace('’', "'")
    )
  })
})

describe('files of texts', () => {
  it('reads a text a line, and JSON a line with pairs and labels', () => {
    expect(parseTexts('\uFEFFone\r\n\r\ntwo\n', false, 't.txt')).toEqual([
      { text: 'one', line: 1 },
      { text: 'two', line: 3 }
    ])
    expect(parseTexts('{"text":"a","text_pair":"b","label":1}\n"c"\n', true, 't.jsonl')).toEqual([
      { text: 'a', pair: 'b', label: 1, line: 1 },
      { text: 'c', line: 2 }
    ])
  })

  it.each([
    ['{"text":"a"}\n{"text":', 'line 2 is not JSON'],
    ['{"text":"a"}\n\n{"txt":"b"}', 'line 3 has no text'],
    ['{"text":"a","text_pair":1}', 'line 1 has a text_pair that is no text'],
    ['{"text":"a","label":[1]}', 'line 1 has a label that is neither a number nor a name'],
    ['\n \n', 'no texts in the file']
  ])('names the line of what it cannot read: %s', (content, message) => {
    expect(() => parseTexts(content, true, 't.jsonl')).toThrow(message)
  })

  it('takes labels by number or by name, of all texts or none', () => {
    const read = (content: string, o: Partial<Parameters<typeof textDataset>[3]> = {}) =>
      textDataset(parseTexts(content, true, 't.jsonl'), letters, [port('x')], { where: 't.jsonl', ...o }).labels
    const named = '{"text":"a","label":"good"}\n{"text":"b","label":"bad"}'
    expect(read(named, { classNames: ['bad', 'good'] })).toEqual([1, 0])
    expect(() => read(named)).toThrow('nothing lists the classes')
    expect(() => read('{"text":"a","label":3}', { classes: 2 })).toThrow('label 3 is not a class')
    const half = '{"text":"a","label":1}\n{"text":"b"}'
    expect(() => read(half)).toThrow('a text without a label among texts with labels')
    expect(read(half, { partly: true })).toEqual([1, -1])
  })
})
