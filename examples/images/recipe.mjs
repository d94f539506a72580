/**
 * The way from a trained network to one for the phone: pruned in steps while it learns from what it was, folded, and
 * quantized to int8. `pare compress --recipe` takes it as JSON.
 */
export const recipe = ({ epochs, batch, rate, share, step }) => [
  ['simplify', {}],
  [
    'finetune',
    {
      epochs,
      batch,
      optimizer: { name: 'adam', rate },
      teacher: 'itself',
      prune: { what: 'channels', to: share, step }
    }
  ],
  ['fuse', {}],
  ['quantize-static', {}],
  ['quantize-weights', { form: 'foldable' }]
]
