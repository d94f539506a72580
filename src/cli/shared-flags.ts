/** Flags that several commands take, with the same names everywhere. */
import type { Flag } from './flags.ts'

/** Of commands that write a model. */
export const outputFlags: readonly Flag[] = [
  {
    name: 'out',
    short: 'o',
    kind: 'text',
    hint: 'FILE',
    group: 'output',
    about: 'where to write the model',
    default: 'NAME.pare.onnx, by the target’s format'
  },
  { name: 'force', kind: 'boolean', group: 'output', about: 'overwrite files that exist' },
  {
    name: 'check',
    kind: 'boolean',
    group: 'output',
    about: 'open the result in the target’s runtime and run it beside the original before it is written',
    default: true
  }
]

/** Of commands that make a Report. */
export const reportFlags: readonly Flag[] = [
  {
    name: 'report',
    kind: 'text',
    hint: 'FILE.html|FILE.json',
    group: 'output',
    about: 'write the report as a page or as JSON'
  },
  { name: 'json', kind: 'boolean', group: 'output', about: 'print the report as JSON and nothing else' },
  { name: 'quiet', kind: 'boolean', group: 'output', about: 'print nothing but errors' },
  { name: 'debug', kind: 'boolean', group: 'output', about: 'show where an error comes from' }
]

/** Of commands that write a report but no model. */
export const forceFlag: Flag = outputFlags[1] as Flag

/** Where the model will live. */
export const targetFlag: Flag = {
  name: 'target',
  kind: 'text',
  hint: 'NAME',
  group: 'target',
  about:
    'where the model will live, which decides the format; pare targets lists them (default: by the endings of model and output)'
}

/** Where and how models run. */
export const placeFlags: readonly Flag[] = [
  targetFlag,
  {
    ...{
      name: 'seed',
      kind: 'whole',
      hint: 'N',
      group: 'target',
      about: 'whatever is drawn is drawn by it',
      default: 0
    },
    range: { least: 0 }
  },
  {
    ...{ name: 'threads', kind: 'whole', hint: 'N', group: 'target', about: 'threads of the runtime', default: 1 },
    range: { least: 1, most: 1024 }
  }
]

/** Of commands that time models. */
export const costModelFlag: Flag = {
  ...{ name: 'cost-model', kind: 'text', hint: 'FILE', group: 'target' },
  about: 'of calibrate-target: the report says what it predicts beside what was measured'
}

const data = (name: string, about: string): Flag => ({ name, kind: 'text', hint: 'PATH', group: 'data', about })

/** The data of a command. */
export const dataFlag = data(
  'data',
  'a folder of pictures, .npz, .npy, IDX, texts (.txt, .jsonl), or a .js/.mjs module'
)
/** What metrics are taken on. */
export const evalDataFlag = data('eval-data', 'data of its own for every metric that is reported')
/** What ranges are taken from. */
export const calibrationDataFlag = data('calibration-data', 'data of its own to calibrate on, all of it')
/** What is trained on. */
export const trainDataFlag = data('train-data', 'data of its own to train on')
/** What everybody may see. */
export const publicDataFlag = data(
  'public-data',
  'samples that everybody may see, for distillation; labels are not read'
)
/** Of commands that take long. */
export const resumeFlag: Flag = {
  name: 'resume',
  kind: 'boolean',
  group: 'output',
  about: 'go on after the last epoch of the same command, where it was stopped'
}
/** Of passes that compare a quantized model with the one that it was made from. */
export const referenceFlag: Flag = {
  name: 'reference',
  kind: 'text',
  hint: 'FILE',
  group: 'data',
  about: 'the float model that the quantized one was made from'
}
/** How data is read. */
export const readingFlags: readonly Flag[] = [
  {
    name: 'preprocess',
    kind: 'text',
    hint: 'NAME|FILE.json',
    group: 'data',
    about: 'imagenet, tf, unit, none, or a file { scale, mean, std, resize, crop, layout }'
  },
  { name: 'labels', kind: 'text', hint: 'FILE', group: 'data', about: 'class names, one a line, for folders by class' },
  {
    name: 'tokenizer',
    kind: 'text',
    hint: 'FILE',
    group: 'data',
    about: 'for texts: tokenizer.json, or the vocab.txt of a BERT',
    default: 'the one beside the model'
  },
  {
    name: 'max-length',
    kind: 'whole',
    hint: 'N',
    group: 'data',
    about: 'for texts: tokens at most; longer texts are cut',
    default: 'what the files of the tokenizer say, else 512'
  },
  {
    name: 'sample-rate',
    kind: 'whole',
    hint: 'HZ',
    group: 'data',
    about: 'for folders of .wav: the rate that the model expects; others are resampled',
    default: 'what preprocessor_config.json beside the model says, else 16000'
  },
  {
    name: 'window',
    kind: 'whole',
    hint: 'N',
    group: 'data',
    about: 'for folders of .wav: samples of one window, or of one step of a model with states',
    default: 'what the model says, else the whole recording'
  },
  {
    name: 'hop',
    kind: 'whole',
    hint: 'N',
    group: 'data',
    about: 'for folders of .wav: samples from one window to the next',
    default: 'the window'
  }
]

/** What a model is judged by. */
export const metricFlag: Flag = {
  name: 'metric',
  kind: 'text',
  hint: 'NAME|FILE.mjs',
  group: 'accuracy',
  about:
    'top1, top5, agreement, cosine, detections, relativeError, reconstruction, ctcText, or a module of yours (default: top1 with labels, else by what the model gives: agreement for class scores, cosine for embeddings, detections for boxes with scores, else relativeError; the report says why)'
}

/** Which outputs are judged. */
export const judgedFlag: Flag = {
  name: 'output',
  kind: 'list',
  hint: 'NAME,…',
  group: 'accuracy',
  about: 'outputs that metrics look at, by name (default: all but inputs that the model hands on)'
}

/** What may be lost. */
export const maxDropFlag: Flag = {
  name: 'max-drop',
  kind: 'share',
  hint: '1%',
  group: 'accuracy',
  about: 'the loss that is allowed; 1% and 0.01 are one percentage point'
}

/** What is judged, and what may be lost. */
export const metricFlags: readonly Flag[] = [metricFlag, judgedFlag, maxDropFlag]

/** Passes to apply instead of a search. */
export const recipeFlag: Flag = {
  name: 'recipe',
  kind: 'text',
  hint: 'FILE.json',
  group: 'search',
  about: 'apply this recipe, or that of a report'
}

/** How long a command may take. */
export const maxTimeFlag: Flag = {
  name: 'max-time',
  kind: 'text',
  hint: '30min',
  group: 'target',
  about: 'how long the whole may take (90s, 30min, 2h): numbers of samples and repeats adapt, and the report says so'
}

/** How long latency is measured. */
export const secondsFlag: Flag = {
  name: 'seconds',
  kind: 'number',
  hint: 'X',
  group: 'target',
  about: 'how long to time',
  default: 3
}
