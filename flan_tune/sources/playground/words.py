"""The closed vocabulary of the playground, and the small facts that hold in its world.

Nearly every word becomes one vocabulary piece.  No noun that follows "a" starts with a vowel but
"animal", so that few families have to choose between "a" and "an".
"""


def _split(text: str) -> tuple[str, ...]:
  return tuple(text.split())


def with_article(noun: str) -> str:
  """The noun behind "a" or "an"."""
  return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


NAMES = _split(
  "Anna Ben Cara Dan Eva Finn Gina Hugo Ida Jack Kim Leo Mia Nora Otto Paul Rosa Sam Tara Vera "
  "Will Yara Zoe Max"
)
CITIES = _split("Rome Paris Oslo Cairo Lima Tokyo Delhi Berlin Dublin Madrid Vienna Quebec")
ROOMS = _split("kitchen garden garage attic hall office cellar bedroom tower library")
DAYS = _split("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")

ANIMALS = _split("cat dog horse cow pig sheep duck goose fox wolf bear lion")
FRUITS = _split("pear plum grape lemon melon peach banana cherry mango fig lime quince")
TOOLS = _split("hammer saw drill spade rake knife wrench ladder shovel brush mallet chisel")
COLOURS = _split("red blue green black white yellow brown pink grey purple")
JOBS = _split("baker nurse pilot farmer teacher painter lawyer sailor doctor singer judge")
THINGS = _split("key ball pen cup book lamp box coin ring bag map rope")

# The label is what a question calls the members: "Which one is a tool?"
KINDS = {
  "animal": ANIMALS,
  "fruit": FRUITS,
  "tool": TOOLS,
  "colour": COLOURS,
  "city": CITIES,
  "job": JOBS,
}

# Things that are counted, in the plural.
PLURALS = _split("pens cups hats books coins pears cakes eggs balls rings keys socks")
CONTAINERS = _split("boxes bags jars baskets trays bowls")

# Opinions and what they are about.
GOOD = _split(
  "good great lovely superb nice perfect pleasant wonderful brilliant charming splendid"
)
BAD = _split("bad shabby horrible poor nasty terrible dull boring dreadful gloomy rotten")
REVIEWED = _split("soup cake room film music staff story play hotel garden show meal")

TOPICS = {
  "sport": _split("goal match coach race team player medal stadium referee trophy"),
  "music": _split("song drum piano choir violin melody concert flute guitar opera"),
  "weather": _split("rain snow storm wind cloud fog thunder sunshine frost breeze"),
  "money": _split("bank loan debt market price tax profit wage budget salary"),
}

# Where a thing is found; no thing is found in two places.
PLACES = {
  "bakery": _split("bread cake pie bun roll toast"),
  "farm": _split("cow pig sheep goose hay barn"),
  "school": _split("teacher desk chalk pupil lesson classroom"),
  "hospital": _split("doctor nurse bandage medicine surgeon patient"),
  "harbour": _split("ship sailor anchor boat ferry captain"),
  "workshop": _split("hammer saw drill wrench nail screw"),
}

# What people did, without an object.
DEEDS = _split(
  "slept sang swam read cooked danced laughed wrote shopped rested jumped talked played "
  "worked smiled waited"
)
DEALINGS = _split("sold found bought lost kept hid")
# Said of anything bought or seen; no deed or place tells whether one of these holds.
UNTOLD = _split("heavy old small new pretty strange")

# Half of the names are hers, half are his.
SHE = _split("Anna Cara Eva Gina Ida Kim Mia Nora Rosa Tara Vera Zoe")
HE = tuple(name for name in NAMES if name not in SHE)

SYNONYMS = tuple(
  tuple(pair.split(":"))
  for pair in _split(
    "big:large small:little fast:quick happy:glad sad:gloomy loud:noisy calm:quiet rich:wealthy"
  )
)
OPPOSITES = tuple(
  tuple(pair.split(":"))
  for pair in _split(
    "big:small cheap:dear clean:dirty thick:thin hard:soft light:heavy wet:dry long:short"
  )
)

# What happened, by how it felt.
FEELINGS = {
  "happy": ("won a race", "got a gift", "passed a test", "heard good news", "saw a rainbow"),
  "sad": ("lost a friend", "failed a test", "missed a party", "broke a toy", "had to leave"),
  "afraid": ("met a ghost", "saw a shark", "heard a scream", "smelt smoke", "felt a quake"),
  "angry": ("caught a thief", "read a lie", "got a fine", "saw a fight", "heard an insult"),
}

# What one does with a thing, by its kind.
USES = {
  "fruit": _split("eats peels tastes slices"),
  "animal": _split("feeds strokes walks trains"),
  "tool": _split("sharpens repairs oils grips"),
}

# Words for lists: forty, so that their order in the alphabet can be learnt word by word.
LISTED = _split(
  "arm bag bear book box cake cat coat cow cup dog door duck egg fish fox goat hat hill key "
  "king lamp leaf lion map moon nose pen pig rain ring road rope ship shoe snow star sun tree "
  "wolf"
)

# Zorbish, word for word, by the place of the English word in a sentence.
ZORBISH = tuple(
  dict(pair.split(":") for pair in _split(pairs))
  for pairs in (
    "big:mox small:tik old:odra new:nist fast:zef slow:lunt happy:yab sad:ulm",
    "cat:mip dog:wok horse:hurn fox:fleb bird:pirro man:dal woman:dolu child:dilik king:regu "
    "baker:panto",
    "sees:vidu likes:amot finds:trov helps:jut follows:sek calls:klam hears:odi paints:tintu",
    "red:rul blue:blim green:gavo black:nok white:sabi yellow:jall brown:brun pink:rozi",
    "tree:silv house:kesh boat:navu road:vik hill:momt moon:lun door:pord lamp:fosk bridge:pont "
    "tower:turr",
  )
)

# (many of this unit, how many of that unit one of it is, what is done for so long or so much)
UNITS = (
  ("weeks", "week", 7, "days", "waits"),
  ("hours", "hour", 60, "minutes", "sleeps"),
  ("yards", "yard", 3, "feet", "walks"),
  ("feet", "foot", 12, "inches", "climbs"),
  ("metres", "metre", 100, "centimetres", "swims"),
  ("years", "year", 12, "months", "studies"),
)

# From small to large; a thing fits into a container of its own rank or a later one.
SIZES = (
  _split("coin ring key bean seed button"),
  _split("book shoe duck cat lamp loaf"),
  _split("desk bed sofa horse cow piano"),
)
CONTAINER_SIZES = (
  _split("cup purse pocket glass jar"),
  _split("suitcase basket sack bucket drawer"),
  _split("barn garage hall ship truck"),
)
