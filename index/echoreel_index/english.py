"""The few hundred English words that the grammar of `phrases` needs, and the forms of its verbs. No model, nothing to load.

The lists are short on purpose: what is not in them is handled by its form (-ing, -s after a singular subject).
"""

from __future__ import annotations

STOP_WORDS = frozenset(
    "a an the this that these those some any each every it its he she his her their them they we you your my our i me who whom which "
    "of in on at by to for from with and or but as is are was were be been being am do does did doing done has have had having while "
    "during then there here into onto upon very just not no so such than too can will would could should may might must".split()
)
"""Words that say nothing about what is to be seen."""

SINGULAR = frozenset("a an one this that each every another".split())
PLURAL = frozenset("two three four five six seven eight nine ten some many several few both these those all".split())
POSSESSIVE = frozenset("his her their its your my our one's".split())
DETERMINERS = SINGULAR | PLURAL | POSSESSIVE | {"the", "no"}

PRONOUNS = frozenset("he she it someone somebody everyone everybody anyone anybody nobody".split())
"""Subjects that are complete in one word and take a verb in -s."""
PLURAL_PRONOUNS = frozenset("they we you i people men women children kids boys girls dancers players athletes".split())
"""Subjects that are complete in one word and take a bare verb."""

AUXILIARIES = frozenset("is are was were be been being am can could will would has have had".split())
RELATIVES = frozenset("who which that".split())

PLACE_PREPOSITIONS = frozenset(
    "in on at by near beside inside outside beneath underneath under behind between above below beyond against along across among "
    "amid within during alongside opposite atop".split()
)
"""They begin where it happens, or what is worn, unless their noun belongs to the action (`on their hands`)."""
WORN = frozenset("wearing dressed clad".split())
"""They begin what is worn."""
BOUND = {
    "at": frozenset("pointing looking staring laughing smiling shouting yelling barking aiming shooting throwing".split()),
    "on": frozenset("putting trying turning switching".split()),
}
"""Place prepositions that belong to some verbs: what they point at, what they put on."""
TIMES_OF_DAY = frozenset("night sunset sunrise dawn dusk noon midnight home work school".split())
OTHER_PREPOSITIONS = frozenset("with of from to over through into onto off up down around round towards toward past like for about".split())
"""After a verb these belong to the action: over a fence, like a frog, with a ball."""

CLOTHES = frozenset(
    "shirt shirts t-shirt tshirt blouse sweater jumper jacket coat hoodie vest top suit dress skirt trousers pants jeans shorts "
    "leggings tights hat cap helmet beanie mask glasses sunglasses goggles gloves boots shoes sneakers trainers socks sandals heels "
    "scarf tie uniform costume kimono robe gown apron swimsuit bikini leotard tracksuit pyjamas pajamas armour armor clothes clothing "
    "outfit sportswear overalls tutu".split()
)
COLOURS = frozenset(
    "red green blue yellow white black purple orange pink brown grey gray beige golden silver dark light bright navy violet turquoise "
    "striped colourful colorful".split()
)

OF_THE_ACTION = frozenset(
    "hand hands arm arms leg legs foot feet toes tiptoe tiptoes knee knees head back belly stomach side sides heels elbows shoulders "
    "all-fours fours air circle circles place spot line motion pair pairs turns rhythm unison reverse slow-motion skateboard "
    "snowboard surfboard board bike bicycle unicycle motorcycle motorbike scooter horse skates skis sled trampoline rope tightrope "
    "swing bar bars rings drum drums guitar piano violin keyboard phone door wall".split()
)
"""Nouns that belong to the action even after a place preposition: standing on their hands, knocking at a door."""

NO_VERB_IN_ING = frozenset(
    "thing something nothing everything anything king ring string spring wing swing ceiling building morning evening clothing "
    "painting wedding pudding during wearing sibling earring sterling lightning railing awning sling herring duckling dumpling viking "
    "bling interesting amazing exciting boring stunning missing following outstanding existing".split()
)
COMPOUNDS = frozenset(
    "swimming-pool running-shoes running-track living-room dining-room dining-table parking-lot boxing-ring boxing-gloves "
    "climbing-wall climbing-frame sleeping-bag washing-machine sewing-machine rowing-machine rocking-chair walking-stick fishing-rod "
    "fishing-boat frying-pan cutting-board skating-rink diving-board shopping-cart shopping-mall shopping-bag shopping-centre "
    "shopping-center hiking-boots skipping-rope jumping-jack jumping-jacks punching-bag rolling-pin wheeling-cart sailing-boat "
    "riding-school training-ground training-hall changing-room waiting-room meeting-room bowling-alley sparring-partner".split()
)
"""Things whose first word only looks like a verb, joined by a hyphen."""

POSTURES = frozenset("standing sitting lying waiting being holding having looking facing seen shown filmed".split())
"""What people do while they do something else: an action only where there is no other."""

VERBS = frozenset(
    "applaud balance ballet bark bat bathe beat bend bike bite blow boil bounce bow bowl box brush build bump bury butt buy call "
    "carry cartwheel carve cast catch celebrate chase cheer chew chop clap clean climb clip close comb cook cough cover crack crash "
    "crawl cross crouch cry curl curtsy cut cycle dance dig dip dive do draw dress dribble drift drink drive drop drum dry dunk duck "
    "eat embrace exercise fall fan feed fence fight fish flap flip float flow fly fold fry gallop get gesture give grab graze grind "
    "grill hammer hang headbang hide high-five hike hit hold hop hug hunt hurdle iron jab jog juggle jump kayak kick kiss knead kneel "
    "knit knock land laugh leap lean lie lift light limp listen load lunge make march massage meditate mix moonwalk mop move mow nod "
    "open paddle paint park pass pat pedal peel perform pet pick pirouette pitch plant play point pose pour pray press pull punch "
    "push put race raise rap reach read ride ring rise roll row rub run sail salute saw scrape scratch scream scrub sculpt serve sew "
    "shake sharpen shave shoot shout shovel shrug sing sit skate skateboard sketch ski skip slap sled sleep slice slide slip smash "
    "smile smoke sneeze snorkel snowboard somersault spar spin spit splash sprint squat squeeze stack stand step stir stomp stretch "
    "strike stroll strum struggle sunbathe surf sway sweep swim swing tackle talk tap teach tear throw tickle tie tighten tiptoe toss "
    "touch train trim trip trot tumble turn twerk twirl twist type unload vacuum vault wait wake walk waltz wash watch water wave "
    "weave weld whip whisk whisper whistle wink wipe work wrap wrestle write yawn yell".split()
)
"""Bare forms of verbs of action; needed where form alone does not tell (`people dance`, `to juggle`, `a jump`)."""
PAST = {
    "ran": "run", "swam": "swim", "threw": "throw", "rode": "ride", "fell": "fall", "did": "do", "made": "make", "took": "take",
    "sang": "sing", "drove": "drive", "flew": "fly", "caught": "catch", "danced": "dance", "hit": "hit", "spun": "spin", "shot": "shoot",
    "stood": "stand", "sat": "sit", "leapt": "leap", "swung": "swing", "drew": "draw", "wrote": "write", "ate": "eat", "drank": "drink",
    "bent": "bend", "held": "hold", "hung": "hang", "knelt": "kneel", "rose": "rise", "shook": "shake", "slid": "slide", "struck": "strike",
}  # fmt: skip

DONE = frozenset(
    "backflip frontflip flip somersault cartwheel handstand headstand push-up pushup pull-up pullup chin-up sit-up situp burpee squat "
    "lunge plank jumping-jack star-jump split splits roundoff round-off pirouette plie arabesque handspring frog-jump tuck-jump "
    "front-flip side-kick front-kick high-kick roundhouse-kick karate-kick butt-kick donkey-kick knee-strike leg-swing leg-raise "
    "lateral-raise arm-circle toe-touch side-bend sumo-squat glute-bridge mountain-climber forward-roll biceps-curl overhead-press "
    "deadlift bench-press ollie kickflip wheelie moonwalk high-five handshake slam-dunk layup free-throw trick stunt dance jump kick "
    "punch bow salute".split()
)
"""Actions that are nouns: one does them (`a cartwheel`, `three push-ups`)."""
PRACTISED = frozenset(
    "yoga karate judo taekwondo gymnastics aerobics parkour ballet breakdance pilates tai-chi kung-fu capoeira acrobatics homework".split()
)
"""One does these without an article."""
PLAYED = frozenset(
    "tennis football soccer basketball volleyball baseball cricket golf hockey badminton rugby squash polo table-tennis ping-pong "
    "chess cards guitar piano violin drums flute trumpet cello saxophone harmonica".split()
)
INSTRUMENTS = frozenset("guitar piano violin drums flute trumpet cello saxophone harmonica".split())

FOREIGN = frozenset(
    "der die das ein eine einen einem einer und mit auf im am ist nicht le la les un une des du et avec sur dans el los las una y con "
    "en del il lo gli uno della nel sulla e che een het van op met de som och ett på med og jeg ich er sie fait faire que por para do "
    "na w z".split()
) - {"a", "an", "in", "on", "do", "is", "am", "no", "e", "y", "w", "z"}
"""Function words of other languages that are none in English."""


def base_of(word: str) -> str | None:
    """The bare form of a known verb in any form, or None: jumps, jumped, jumping, ran -> jump, run."""
    if word in VERBS:
        return word
    if word in PAST:
        return PAST[word]
    for ending, ends in (("ies", ("y",)), ("es", ("", "e")), ("s", ("",)), ("ied", ("y",)), ("ed", ("", "e")), ("ing", ("", "e", "ie"))):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            root = word[: -len(ending)]
            roots = [root + end for end in ends]
            if ending in ("ed", "ing") and len(root) > 2 and root[-1] == root[-2]:
                roots.append(root[:-1])
            if ending == "ing" and root.endswith("y"):
                roots.append(root[:-1] + "ie")
            found = next((one for one in roots if one in VERBS), None)
            if found:
                return found
    return None


def third_person_base(word: str) -> str:
    """The bare form of any verb in -s: juggles -> juggle, splashes -> splash, does -> do, carries -> carry."""
    known = base_of(word)
    if known:
        return known
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes", "zzes", "oes")):
        return word[:-2]
    return word[:-1]


def gerund(base: str) -> str:
    """The -ing form: run -> running, ride -> riding, lie -> lying, dance -> dancing, carry -> carrying."""
    if base.endswith("ie"):
        return base[:-2] + "ying"
    if base.endswith("e") and not base.endswith(("ee", "oe", "ye")):
        return base[:-1] + "ing"
    vowels = "aeiou"
    if base.startswith("qu", max(0, len(base) - 4)) and len(base) > 3:
        return base + base[-1] + "ing" if base[-1] not in vowels + "wxy" and base[-2] in vowels else base + "ing"
    short = len(base) >= 3 and base[-1] not in vowels + "wxy" and base[-2] in vowels and base[-3] not in vowels
    if short and sum(letter in vowels for letter in base) == 1:
        return base + base[-1] + "ing"
    return base + "ing"


def stem(word: str) -> str:
    """A rough root, so that forms of one word meet: backflips, backflipping, backflip -> backflip."""
    known = base_of(word)
    root = known or word
    if not known:
        for ending in ("ing", "ied", "ies", "ed", "es", "s"):
            if root.endswith(ending) and len(root) - len(ending) >= 3 and not root.endswith("ss"):
                root = root[: -len(ending)] + ("y" if ending in ("ied", "ies") else "")
                break
        if len(root) > 3 and root[-1] == root[-2] and root[-1] not in "sl":
            root = root[:-1]
    return root.removesuffix("e") if len(root) > 3 else root
