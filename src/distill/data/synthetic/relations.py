"""Vocabulary of the embedded corpus: relations of towns, their wordings, their values.

The words of the held-out questions all occur in training questions; only their combination is new.
"""

from dataclasses import dataclass
from itertools import product


@dataclass(frozen=True)
class Relation:
    """One attribute of a town. In the wordings ``{e}`` is the town and ``{v}`` the value.

    Attributes:
        name: identifier, unique among `RELATIONS`.
        kind: key of `VALUES`; relations of one kind are each other's plausible wrong answers.
        statements: paraphrases of the fact, each with one ``{e}`` and one ``{v}``.
        questions: wordings that both splits may use, each with one ``{e}``.
        held_out: wordings that only the validation split uses, each with one ``{e}``.
    """

    name: str
    kind: str
    statements: tuple[str, ...]
    questions: tuple[str, ...]
    held_out: tuple[str, ...]


def _relation(block: str) -> Relation:
    """Read one block of `_TABLE`."""
    title, *lines = block.splitlines()
    name, kind = title.split()
    by_mark = {mark: tuple(line[2:] for line in lines if line[0] == mark) for mark in ".?!"}
    return Relation(name, kind, by_mark["."], by_mark["?"], by_mark["!"])


def _combine(pattern: str, *parts: str) -> tuple[str, ...]:
    """Fill `pattern` with every combination of the words of `parts`, in order."""
    return tuple(pattern.format(*words) for words in product(*(part.split() for part in parts)))


_ADJECTIVES = "white black red green grey brown silver golden"
_GOODS = "glass wool silk copper salt timber marble honey paper leather wine rope"
_STEMS = "Ald Bren Cor Dun Elm Fal Gar Hol Kel Lin Mar Nor Oak Pen Rav Sel Thorn Ul Ven Wes"
_ENDS = "ford ton mere wick dale burg stead haven field ham"

# Two words a town, each common to many towns: single tokens for the vocabulary, also in names that
# only validation has.
TOWNS = _combine(
    "{} {}{}",
    "North South East West Upper Lower Old New Great Little Port Saint Castle Market Bishop King "
    "Queen Abbey Long Stony Royal Fair High Deep",
    _STEMS,
    _ENDS,
)

VALUES: dict[str, tuple[str, ...]] = {
    "person": _combine(
        "{} {}",
        "Ada Anton Bela Carl Clara Dora Edgar Emma Felix Frida Greta Hugo Ida Ivan Jonas Karin Leo "
        "Lotte Mara Nils Olga Oscar Paula Rosa Samuel Sofia Theo Vera Viktor Zora",
        "Abel Adler Baker Berg Carver Conrad Fischer Fowler Gruber Hale Jansen Keller Kramer "
        "Lambert Mason Miller Novak Olsen Parker Quist Reed Sander Sawyer Tanner Varga Weaver "
        "Winter Young Zeller Ziegler",
    ),
    "year": tuple(str(year) for year in range(1100, 1900, 4)),
    "count": tuple(f"{number} thousand" for number in range(3, 99)),
    "height": tuple(f"{number} metres" for number in range(110, 990, 10)),
    "water": _combine("{} {}", "Black Clear Cold Bright Slow Swift", "Arrow Otter Heron Reed Swan")
    + _combine("{}", "Arle Brisk Calder Dove Esk Fern Gade Irwell Lune Nidd Orwell Severn Tamar"),
    "mountain": _combine("Mount {}", "Arden Boreal Cairn Draken Ebon Falcon Granite Helm Jura"),
    "town": TOWNS,
    "goods": _combine("{} {}", _ADJECTIVES, _GOODS) + _combine("{}", _GOODS),
    "dish": _combine("{} with {}", "eel trout goose lamb rabbit bean", "barley plums leeks cream"),
    "animal": _combine("{} {}", _ADJECTIVES, "lion bear eagle stag wolf fox horse raven dolphin"),
    "colours": _combine("{} and {}", "blue crimson purple", "gold orange yellow pink"),
    "festival": _combine("{} of {}", "Feast Night Week", "Lamps Bells Boats Masks Ribbons Stars"),
    "weekday": _combine("{}", "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    "newspaper": _combine("{} {}", "Morning Evening Daily Weekly", "Herald Courier Mirror Post"),
    "collection": _combine("{} {}", "old rare painted carved", "clocks maps dolls coins ships"),
}

# Sentences that answer no question. Many share words with the facts: a word alone decides nothing.
FILLERS = tuple(
    """
The streets are narrow and quiet.
Most houses have slate roofs.
Winters there are long and mild.
A former mayor had the walls painted.
The old bridge is closed in winter.
Trains stop there twice a day.
Nobody knows who planted the gardens.
The hall has been repaired many times.
Poets and painters like the light.
The river often floods the meadows.
A path leads around the lake.
Fire watchers still walk the walls.
The flag is taken down at night.
Children carry lanterns at the festival.
The museum is closed in spring.
Its market is small but lively.
Many visitors stay for a week.
The cooks keep their dishes secret.
Few goods are stored in the harbour.
Old newspapers are kept in a cellar.
The mountain is hidden by fog.
Shepherds pass by in the autumn.
The year of the first census is lost.
People like to talk about the sea.
""".strip().splitlines()
)

# One block a relation: its name and kind, then its wordings, marked "." for a statement, "?" for a
# question of both splits and "!" for a question that is held out.
_TABLE = """
mayor person
. The mayor of {e} is {v}.
. {v} is the mayor of {e}.
. {v} governs {e} as mayor.
? Who is the mayor of {e}?
? Who governs {e}?
? What is the name of the mayor of {e}?
? Which person governs {e} as mayor?
? Which mayor does {e} have?
! Which person is the mayor of {e}?
! Who governs {e} as mayor?

founder person
. {e} was founded by {v}.
. The founder of {e} was {v}.
. {v} was the founder of {e}.
? Who founded {e}?
? Who was the founder of {e}?
? By whom was {e} founded?
? Which person was the founder of {e}?
? Which founder does {e} have?
! Which person founded {e}?
! What is the name of the founder of {e}?

architect person
. {v} designed the hall of {e}.
. The hall of {e} was designed by {v}.
. {v} was the architect of the hall of {e}.
? Who designed the hall of {e}?
? Who was the architect of the hall of {e}?
? By whom was the hall of {e} designed?
? Which architect designed the hall of {e}?
? What is the name of the architect of {e}?
! Which person designed the hall of {e}?
! Which person was the architect of the hall of {e}?

poet person
. The poet {v} was born in {e}.
. {e} is the home of the poet {v}.
. The poet of {e} was {v}.
? Which poet was born in {e}?
? Who was the poet of {e}?
? Who was the poet born in {e}?
? What is the name of the poet born in {e}?
? Which person was the poet of {e}?
! What is the name of the poet of {e}?
! Which poet does {e} have?

founding_year year
. {e} was founded in {v}.
. The founding of {e} was in {v}.
. {e} was founded in the year {v}.
? When was {e} founded?
? In which year was {e} founded?
? When was the founding of {e}?
? What is the founding year of {e}?
? What year was {e} founded?
! In what year was {e} founded?
! In which year was the founding of {e}?

bridge_year year
. The bridge of {e} was built in {v}.
. In {v} a bridge was built in {e}.
. The bridge of {e} opened in {v}.
? When was the bridge of {e} built?
? When did the bridge of {e} open?
? In which year did the bridge of {e} open?
? In what year was the bridge of {e} built?
? What year was a bridge built in {e}?
! In which year was the bridge of {e} built?
! In what year did the bridge of {e} open?

railway_year year
. The railway reached {e} in {v}.
. In {v} the railway came to {e}.
. {e} has had a railway since {v}.
? When did the railway reach {e}?
? In which year did the railway come to {e}?
? Since when has {e} had a railway?
? In what year did the railway reach {e}?
? What year did the railway come to {e}?
! When did the railway come to {e}?
! In which year did the railway reach {e}?

population count
. {e} has {v} people.
. The population of {e} is {v}.
. There are {v} people in {e}.
? How many people live in {e}?
? What is the population of {e}?
? How many people does {e} have?
? How large is the population of {e}?
? Which population does {e} have?
! How many people are there in {e}?
! What population does {e} have?

elevation height
. {e} lies {v} above the sea.
. The elevation of {e} is {v}.
. {e} stands {v} above the sea.
? How high does {e} lie?
? What is the elevation of {e}?
? How high above the sea is {e}?
? How high above the sea does {e} stand?
? Which elevation does {e} have?
! How high above the sea does {e} lie?
! What elevation does {e} have?

river water
. {e} lies on the river {v}.
. The river {v} flows through {e}.
. The river of {e} is called {v}.
? Which river flows through {e}?
? On which river does {e} lie?
? What is the river of {e} called?
? What is the river of {e}?
? What river does {e} have?
! What river flows through {e}?
! What is the name of the river of {e}?

lake water
. The lake of {e} is called {v}.
. The nearest lake to {e} is {v}.
. Near {e} lies the lake {v}.
? What is the lake near {e} called?
? Which lake lies near {e}?
? What lake is the nearest to {e}?
? What is the name of the lake near {e}?
? Which lake does {e} have?
! What lake lies near {e}?
! What is the lake of {e} called?

mountain mountain
. The mountain {v} rises above {e}.
. The mountain of {e} is called {v}.
. {e} lies below the mountain {v}.
? Which mountain rises above {e}?
? What mountain does {e} lie below?
? What is the mountain of {e} called?
? What is the mountain of {e}?
? Which mountain does {e} have?
! What mountain rises above {e}?
! What is the name of the mountain of {e}?

twin town
. {e} is twinned with {v}.
. The twin town of {e} is {v}.
. {e} has a twin town, {v}.
? With which town is {e} twinned?
? What is the twin town of {e}?
? Which town is the twin of {e}?
? What is the name of the twin town of {e}?
? What twin town does {e} have?
! Which town is twinned with {e}?
! What is the twin town of {e} called?

export goods
. {e} exports {v}.
. The main export of {e} is {v}.
. {e} is known for the export of {v}.
? What does {e} export?
? What is the main export of {e}?
? Which goods does {e} export?
? What export is {e} known for?
? Which export does {e} have?
! What goods does {e} export?
! For which export is {e} known?

dish dish
. The local dish of {e} is {v}.
. Cooks in {e} serve a dish of {v}.
. {e} is known for a dish of {v}.
? What is the local dish of {e}?
? Which dish do cooks in {e} serve?
? For which dish is {e} known?
? What dish does {e} have?
? What is the dish of {e} called?
! What dish do cooks in {e} serve?
! What dish is {e} known for?

arms animal
. The arms of {e} show a {v}.
. A {v} stands on the arms of {e}.
. The animal on the arms of {e} is a {v}.
? What do the arms of {e} show?
? Which animal stands on the arms of {e}?
? What animal is on the arms of {e}?
? What is on the arms of {e}?
? Which animal do the arms of {e} show?
! What animal do the arms of {e} show?
! Which animal is on the arms of {e}?

flag colours
. The flag of {e} is {v}.
. {e} has a flag of {v}.
. The colours of the flag of {e} are {v}.
? What colours does the flag of {e} have?
? What are the colours of the flag of {e}?
? What flag does {e} have?
? Which colours are on the flag of {e}?
? What is on the flag of {e}?
! Which colours does the flag of {e} have?
! Which flag does {e} have?

festival festival
. {e} holds the festival {v}.
. The festival of {e} is the {v}.
. Every spring {e} celebrates the {v}.
? Which festival does {e} hold?
? What is the festival of {e} called?
? What does {e} celebrate every spring?
? What festival does {e} celebrate?
? What is the festival of {e}?
! What festival does {e} hold?
! Which festival does {e} celebrate?

market_day weekday
. The market of {e} is held on {v}.
. On {v} there is a market in {e}.
. {v} is market day in {e}.
? On which day is the market of {e} held?
? When is market day in {e}?
? Which day is market day in {e}?
? On what day is there a market in {e}?
? What is the market day of {e}?
! On what day is the market of {e} held?
! On which day is there a market in {e}?

newspaper newspaper
. People in {e} read the newspaper {v}.
. The newspaper of {e} is the {v}.
. The newspaper {v} is printed in {e}.
? Which newspaper is printed in {e}?
? What is the newspaper of {e} called?
? Which newspaper do people in {e} read?
? What is the newspaper of {e}?
? What newspaper does {e} have?
! What newspaper is printed in {e}?
! What is the name of the newspaper of {e}?

museum collection
. The museum of {e} shows {v}.
. {e} has a museum of {v}.
. {v} fill the museum of {e}.
? What does the museum of {e} show?
? What fills the museum of {e}?
? Which museum does {e} have?
? What do people see in the museum of {e}?
? What is in the museum of {e}?
! What museum does {e} have?
! What does the museum in {e} show?
"""

RELATIONS = tuple(_relation(block) for block in _TABLE.strip().split("\n\n"))
