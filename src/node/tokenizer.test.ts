import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { toNumbers } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'
import { openDataset } from './dataset.ts'
import { openTokenizer, shortened } from './tokenizer.ts'

const home = mkdtempSync(join(tmpdir(), 'pare-tokenizer-'))
afterAll(() => rmSync(home, { recursive: true, force: true }))
function put(name: string, content: string): string {
  const path = join(home, name)
  mkdirSync(join(path, '..'), { recursive: true })
  writeFileSync(path, content)
  return path
}

//                  0      1      2      3       4    5     6      7     8
const words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', 'un', '##do', 'cafe', 'red', ',']
const vocabulary = `${words.join('\n')}\n`

describe('the vocabulary of a BERT', () => {
  it('cuts words to pieces between the marks of the ends', async () => {
    const path = put('lower/vocab.txt', vocabulary)
    const t = await openTokenizer({ path })
    expect(t.encode('Undo CAFÉ, blue', undefined, 512)).toEqual({
      ids: [2, 4, 5, 6, 8, 1, 3],
      segments: [0, 0, 0, 0, 0, 0, 0]
    })
    expect(t.encode('red', 'undo', 512)).toEqual({ ids: [2, 7, 3, 4, 5, 3], segments: [0, 0, 0, 1, 1, 1] })
    expect([t.padding, t.most]).toEqual([0, { tokens: 512, by: 'default' }])
    expect(t.title).toContain('lower case')
  })

  it('keeps case where the vocabulary has capitals or the configuration says so', async () => {
    const capital = await openTokenizer({ path: put('cased/vocab.txt', `${vocabulary}Red\n`) })
    expect(capital.encode('Red red', undefined, 512).ids).toEqual([2, 9, 7, 3])
    const path = put('said/vocab.txt', vocabulary)
    put('said/tokenizer_config.json', '{"do_lower_case": false, "model_max_length": 64}')
    const said = await openTokenizer({ path })
    expect(said.encode('Red red', undefined, 512).ids).toEqual([2, 1, 7, 3])
    expect(said.most).toEqual({ tokens: 64, by: 'tokenizer_config.json' })
    expect((await openTokenizer({ path, maxLength: 9 })).most).toEqual({ tokens: 9, by: '--max-length' })
  })

  it('refuses a list of words that are no word pieces, and other JSON', async () => {
    await expect(openTokenizer({ path: put('list/vocab.txt', 'cat\ndog\n') })).rejects.toThrow('has no [UNK]')
    await expect(openTokenizer({ path: put('other/tokenizer.json', '{"a": 1}') })).rejects.toThrow('no tokenizer')
    await expect(openTokenizer({ path: put('half/tokenizer.json', '{"model":') })).rejects.toThrow('not a JSON file')
    const odd = put('odd/tokenizer.json', '{"model": {"type": "Nothing", "vocab": {}}}')
    await expect(openTokenizer({ path: odd })).rejects.toMatchObject({ code: 'E_DATA' })
  })
})

describe('long texts', () => {
  const tokens = (ids: number[]) => ({ ids, segments: ids.map(() => 0) })

  it('lose the end of the longest text and keep the marks', () => {
    expect(shortened(tokens([2, 7, 8, 9, 3]), [[7, 8, 9]], 4).ids).toEqual([2, 7, 8, 3])
    expect(shortened(tokens([2, 5, 3, 7, 8, 9, 3]), [[5], [7, 8, 9]], 5).ids).toEqual([2, 5, 3, 7, 3])
    expect(shortened(tokens([2, 7, 3]), [[7]], 1).ids).toEqual([2])
  })

  it('are cut to what the model fixes', async () => {
    const path = put('model/texts.txt', 'red red red\nred\n')
    put('model/vocab.txt', vocabulary)
    const inputs = [{ name: 'input_ids', dtype: 'int64', shape: ['N', 4] }] as const
    const d = await openDataset({ path }, inputs, { model: join(home, 'model', 'net.onnx') })
    for await (const { inputs: given } of d.batches({ batch: 2 }))
      expect([...toNumbers(given['input_ids'] as Tensor)]).toEqual([2, 7, 7, 3, 2, 7, 3, 0])
  })
})

describe('texts as --data', () => {
  const inputs = [{ name: 'input_ids', dtype: 'int64', shape: ['N', 'T'] }] as const
  const path = put('alone/texts.txt', 'red\n')

  it('looks beside the model, and above its folder onnx', async () => {
    const vocab = put('folder/vocab.txt', vocabulary)
    const beside = await openDataset({ path }, inputs, { model: join(home, 'folder', 'onnx', 'model.onnx') })
    expect(beside.sha256).toBe((await openDataset({ path, tokenizer: vocab }, inputs)).sha256)
    const other = await openDataset({ path, tokenizer: vocab, maxLength: 2 }, inputs)
    expect(other.sha256).not.toBe(beside.sha256)
  })

  it('says what is missing or does not go together', async () => {
    const model = join(home, 'alone', 'model.onnx')
    await expect(openDataset({ path }, inputs, { model })).rejects.toThrow('none lies beside the model')
    const image = [{ name: 'image', dtype: 'float32', shape: ['N', 3, 8, 8] }] as const
    await expect(openDataset({ path }, image, { model })).rejects.toThrow('the model takes no texts')
    await expect(openDataset({ path, preprocess: 'unit' }, inputs)).rejects.toMatchObject({ code: 'E_OPTION' })
    const array = put('alone/x.npy', 'x')
    await expect(openDataset({ path: array, maxLength: 3 }, inputs)).rejects.toThrow('a tokenizer is for texts')
  })
})
