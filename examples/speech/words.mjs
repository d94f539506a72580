/** What is said, and by whom. */

/** What is listened for; the first is the wake word. */
export const keywords = 'computer yes no up down left right on off stop go light'.split(' ')
export const classes = [...keywords, 'unknown', 'silence']

/** Other words by part, no word in two of them; many sound like a keyword, and none contains one as a word. */
export const others = {
  train: `commuter compute computed pewter composer compare commute tutor
    yet yell yak guess nose note north noon cup pup cap upper pop town dawn gown dumb
    lift laughed let felt ride rice rate rich own an of offer cough awful
    top shop step stock spot goat ghost grow gold glow life line lied like lice might
    one two three four five six seven eight nine zero apple banana window garden table kitchen morning winter
    summer music telephone because people water another question animal river mountain paper pencil family
    minute second about above after again almost always around before better between country different earth
    enough every example father follow friend great house important large learn letter little mother`,
  select: `commuting compete consumer chess nor under pump drown loft bright ought scoff
    stomp gopher lie night butter camera doctor evening finger guitar hospital island jacket ladder machine
    number orange rabbit silver ticket uncle village yellow`,
  test: `competitor peter contributor yesterday chest toe nova puff hub noun doubt leaf theft fight rife aunt
    awning coffee soft stack shot crow glide lime lark allow bottle candle dinner engine flower
    gentle hammer insect jungle kettle lemon market needle oyster pepper quarter ribbon sugar tunnel umbrella
    velvet whisper zebra station chicken holiday picture sister thunder`
}

/** Speakers by part: espeak-ng's voice variants; relatives (klatt, klatt2 …) stay together, and no speaker is in two parts. */
export const speakers = {
  train: `m1 m2 m3 m4 m5 f1 f2 f3 adam Alex Alicia Andrea Andy AnxiousAndy anika antonio aunty belinda benjamin boris
    croak david Denis Diogo ed edward edward2 Gene Gene2 grandma iven iven2 iven3 iven4 klatt klatt2 klatt3 klatt4
    klatt5 Lee Marco max michel miguel pablo robosoft robosoft2 robosoft4 robosoft5 robosoft7 steph steph2 steph3`,
  select: `m6 f4 Annie Henrique Jacky linda Mario norbert paul shelby travis rob`,
  test: `m7 m8 f5 grandpa gustave Hugo john kaukovalta marcelo Michael Mike Nguyen pedro quincy robert sandro
    victor zac RicishayMax RicishayMax2`
}
export const accents = 'en-us en-gb en-gb-scotland en-gb-x-gbclan en-gb-x-rp en-gb-x-gbcwmd en-029 en-us-nyc'.split(' ')

// ---------------------------------------------------------------- words that nobody uses

const begins = 'b d f g h j k l m n p r s t v w z br ch cl cr dr fl fr gl gr pl pr sh sk sl sp st str sw th tr'.split(
  ' '
)
const vowels = 'a e i o u ai ea ee oa oo ou ar er or'.split(' ')
const ends = 'b d f g k l m n p s t x ck ld lk lm lp lt mp nd ng nk nt pt sk st sh th'.split(' ')
/** Letters that may sound alike: replacing one by another could leave the word what it was. */
const alike = [
  ['c', 'k', 'ck', 'q'],
  ['t', 'd', 'tt'],
  ['s', 'c', 'z', 'x'],
  ['f', 'ph', 'gh', 'ght'],
  ['m', 'n', 'mp', 'm']
]

const pick = (random, items) => items[random.below(items.length)]

/** A word of one to three syllables at random, or a keyword of which one group of consonants is another one, or none. */
export function invented(random) {
  return random.next() < 0.5 ? meaningless(random) : nearKeyword(random)
}

const meaningless = (random) =>
  Array.from({ length: 1 + random.below(3) }, () => pick(random, begins) + pick(random, vowels)).join('') +
  pick(random, ends)

function nearKeyword(random) {
  // The wake word, which false accepts are counted of, as often as all others together.
  const word = random.next() < 0.5 ? keywords[0] : pick(random, keywords)
  const groups = word.match(/[aeiouy]+|[^aeiouy]+/g)
  const consonants = [...groups.keys()].filter((i) => !/[aeiouy]/.test(groups[i]))
  const at = pick(random, consonants)
  const others = (at === 0 ? begins : ends).filter((x) => !alike.some((a) => a.includes(x) && a.includes(groups[at])))
  const other =
    at === 0 && random.next() < 0.2
      ? ''
      : pick(
          random,
          others.filter((x) => x !== groups[at])
        )
  return groups.map((g, i) => (i === at ? other : g)).join('')
}

/** A sentence of other words without pauses between them: no keyword is in it. */
export function sentence(words, random) {
  const joints = 'the a is was and with from for this that has'.split(' ')
  return random
    .permutation(words.length)
    .slice(0, 6)
    .map((i, k) => (k % 2 === 0 ? `${pick(random, joints)} ${words[i]}` : words[i]))
    .join(' ')
}
