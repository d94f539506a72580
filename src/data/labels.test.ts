import { describe, expect, it } from 'vitest'
import { tensor } from '../ir/tensor.ts'
import { checkLabels, classNamed, labelIndices, labelsOf, parseClassNames, parseLabelsCsv } from './labels.ts'

describe('label arrays', () => {
  it('take [n] and [n, 1] integers', () => {
    expect(labelsOf(tensor('int64', [2], [3, 1]), '')).toEqual([3, 1])
    expect(labelsOf(tensor('uint8', [2, 1], [3, 1]), '')).toEqual([3, 1])
    expect(labelsOf(tensor('uint8', [1, 1], [3]), '')).toEqual([3])
    expect(() => labelsOf(tensor('float32', [2], [3, 1]), '')).toThrow('must be integers')
    expect(() => labelsOf(tensor('int64', [2, 2], [0, 1, 1, 0]), '')).toThrow('[2, 2]')
  })

  it('must be classes of the model', () => {
    expect(checkLabels([0, 9], 10, '')).toEqual([0, 9])
    expect(() => checkLabels([0, 10], 10, '')).toThrow('label 10 is not a class')
    expect(() => checkLabels([0, -1], undefined, '')).toThrow('label -1')
    expect(checkLabels([0, -1], 2, '', true)).toEqual([0, -1])
    expect(() => checkLabels([0, -2], 2, '', true)).toThrow('label -2')
    expect(labelIndices(parseLabelsCsv('a.png,2\nb.png,-1\n', ''), undefined, '')).toEqual([2, -1])
  })
})

describe('labels.csv', () => {
  it('reads with or without header, quotes and line ends', () => {
    expect(parseLabelsCsv('\uFEFFfile,label\r\na.jpg,3\r\n\r\n"b,""c"".jpg", 4\n', '')).toEqual([
      { file: 'a.jpg', label: '3' },
      { file: 'b,"c".jpg', label: '4' }
    ])
    expect(parseLabelsCsv('a.jpg,3', '')).toEqual([{ file: 'a.jpg', label: '3' }])
    expect(parseLabelsCsv('', '')).toEqual([])
  })

  it('names the line that is wrong', () => {
    for (const bad of ['a.jpg', 'a.jpg,1,2', '"a.jpg,1', '"a"x,1', ',1', 'a.jpg,', 'a\0.jpg,1'])
      expect(() => parseLabelsCsv(`z.jpg,0\n${bad}`, 'labels.csv')).toThrow('line 2')
  })

  it('takes indices, or names with a list', () => {
    const rows = parseLabelsCsv('a.jpg,cat\nb.jpg,1', '')
    expect(labelIndices(rows, ['dog', 'bird', 'cat'], '')).toEqual([2, 1])
    expect(() => labelIndices(rows, undefined, '')).toThrow("'cat'")
    expect(() => labelIndices(rows, ['dog'], '')).toThrow("'cat' is not in the list")
  })
})

it('class names are lines', () => {
  expect(parseClassNames('a\r\n b \n\n')).toEqual(['a', 'b'])
  expect(() => classNamed('a', ['a', 'a'], '')).toThrow('two classes')
})
