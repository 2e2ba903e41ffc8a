"""Names for runs that were given none: adjective-noun-number, as MLflow's runs have. Pure."""

from __future__ import annotations

_ADJECTIVES = (  # noqa: SIM905 - a list of 200 quoted words is no easier to read
    "amber ample apt balmy blithe brave breezy brisk candid cheery civil clear clever cosmic cozy crisp curious deft "
    "eager early earnest easy even fair fine firm fleet fond frank fresh gallant genial glad golden grand hale hardy "
    "hearty honest humble jolly jovial keen kind lively lucid lucky lunar mellow merry mild neat nifty noble novel "
    "patient placid plucky polar prime proud pure quick quiet ready robust rosy rustic serene sharp silent silver "
    "sincere sleek smart snug solar sound spry stable stark steady stout sunny supple sure swift tidal tidy true "
    "upbeat valiant verdant vivid warm wise witty zesty"
).split()
_NOUNS = (  # noqa: SIM905
    "alder arch aspen atlas bay beacon birch bluff brook canyon cape cedar cliff cloud comet coral cove creek crest "
    "dale dawn delta dune dusk ember fern fjord flint forest galaxy gale garnet glade glen grove harbor haven hazel "
    "heath hill island ivy jade juniper kelp lagoon lake larch ledge lichen lotus maple marsh meadow mesa mist moon "
    "moss nebula oak oasis ocean onyx opal orbit orchid peak pebble pine plain pond prairie quartz rapids reef ridge "
    "river sage sand shore sky slope spring spruce star stone storm stream summit sunset thicket tide tundra vale "
    "valley willow wind"
).split()
_NUMBERS = 1000


def run_name(random: int) -> str:
    """The name that belongs to a random number of at least 32 bits, such as "brisk-fjord-417"."""
    rest, number = divmod(random, _NUMBERS)
    rest, noun = divmod(rest, len(_NOUNS))
    return f"{_ADJECTIVES[rest % len(_ADJECTIVES)]}-{_NOUNS[noun]}-{number}"
