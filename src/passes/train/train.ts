/** Training from nothing: the weights are drawn anew, then learned from labelled data. */
import { initialise } from '../../train/index.ts'
import { definePass } from '../pass.ts'
import { fitFields, fitTask } from './finetune.ts'
import { refuseRounded } from './loss.ts'

const { optimizer, epochs } = fitFields

/** Trains a model, built by hand or imported, whatever its weights were. */
export const train = definePass({
  name: 'train',
  summary: 'draw the weights anew and train the model from nothing on your data',
  group: 'training',
  needs: ['train'],
  uses: ['selection'],
  options: {
    ...fitFields,
    epochs: epochs.default(20),
    optimizer: optimizer.prefault({ name: 'adam' })
  },
  run: async (model, options, ctx) => {
    refuseRounded(model, 'train')
    const { model: fresh, kept } = initialise(model, String(ctx.rng.fork('weights').next()))
    if (kept.length > 0) {
      const names = kept.slice(0, 5).join(', ')
      ctx.note(
        `train: ${names}${kept.length > 5 ? ` and ${kept.length - 5} more` : ''} began as in the file: no operator says how`
      )
    }
    return fitTask(fresh, 'train', options, ctx)
  }
})
