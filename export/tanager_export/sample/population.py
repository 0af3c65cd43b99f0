"""The people of the simulation: who they are, and what they like without anybody knowing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tanager_export.dataset.format import AttributeValue, User
from tanager_export.sample.works import DOMAINS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tanager_export.sample.catalogue import Catalogue
    from tanager_export.sample.draws import Draws

_AGE_GROUPS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
_AGE_SHARES = np.array([0.22, 0.30, 0.22, 0.14, 0.08, 0.04])
_YEAR_AT_20 = np.array([2022.0, 2013, 2003, 1993, 1983, 1972])
_GENDERS = (None, "female", "male", "non-binary")
_GENDER_SHARES = np.array([0.25, 0.37, 0.36, 0.02])
# Country, share, hours ahead of UTC, language.
_COUNTRIES = (
    ("China", 0.22, 8, "Chinese"),
    ("United States", 0.20, -6, "English"),
    ("United Kingdom", 0.09, 0, "English"),
    ("India", 0.09, 5, "Hindi"),
    ("Germany", 0.08, 1, "German"),
    ("Japan", 0.07, 9, "Japanese"),
    ("Brazil", 0.07, -3, "Portuguese"),
    ("France", 0.06, 1, "French"),
    ("Mexico", 0.06, -6, "Spanish"),
    ("Canada", 0.06, -5, "English"),
)
_SPEAKS_ENGLISH_TOO = 0.6

# Logits by age group (from young to old) and domain (book, film, album, game).
_DOMAIN_BY_AGE = np.linspace([-0.3, 0.0, 0.2, 0.5], [0.5, 0.2, 0.0, -1.2], len(_AGE_GROUPS))
_DOMAIN_SPREAD = 0.8

_THEME_WEIGHTS = (1.0, 0.8, 0.6, 0.5)
_FORMS_A_DOMAIN = 2
_FORM_WEIGHT = 0.6
_DISLIKE_WEIGHT = -0.6
_COHERENCE = 8.0  # how much the next favourite goes with those before
_FAVOURITE_CREATORS = 3
_ERA_SPREAD_YEARS = 15.0


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """`u` users with what they say of themselves and what they like.

    Attributes:
        users: Ids and profiles. Interests are the strongest themes of the taste they begin with.
        taste: `(2, u, c) float64`, weights of categories at the begin and the end of the simulated time.
        era: `(u,) float64`, the year around which they like works most.
        domain: `(u, domains) float64`, logits.
        creators: `(u, k) bool`, the favourite creators.
        utc_offset_s: `(u,) int64`, seconds that their clocks are ahead of UTC.
        reads_chinese: `(u,) bool`.
    """

    users: tuple[User, ...]
    taste: NDArray[np.float64]
    era: NDArray[np.float64]
    domain: NDArray[np.float64]
    creators: NDArray[np.bool_]
    utc_offset_s: NDArray[np.int64]
    reads_chinese: NDArray[np.bool_]

    @classmethod
    def draw(cls, size: int, catalogue: Catalogue, draws: Draws) -> Population:
        """Draw users; the model is described in `simulate`."""
        age = draws.choice(np.tile(np.log(_AGE_SHARES), (size, 1)))
        gender = draws.choice(np.tile(np.log(_GENDER_SHARES), (size, 1)))
        country = draws.choice(np.tile(np.log([share for _, share, _, _ in _COUNTRIES]), (size, 1)))
        english_too = draws.uniform(size) < _SPEAKS_ENGLISH_TOO
        taste, themes = _draw_tastes(size, catalogue, draws)
        liked_works = taste[0] @ catalogue.features.T
        by_creator = (liked_works @ catalogue.creators) / catalogue.creators.sum(axis=0)
        wish = by_creator / by_creator.std(axis=1, keepdims=True) + draws.gumbel(*by_creator.shape)
        creators = np.zeros(wish.shape, np.bool_)
        np.put_along_axis(creators, np.argsort(-wish, axis=1)[:, :_FAVOURITE_CREATORS], True, axis=1)

        users = []
        for number in range(size):
            name, _, _, language = _COUNTRIES[country[number]]
            languages = (language,) if language == "English" or not english_too[number] else (language, "English")
            attributes: dict[str, AttributeValue] = {"age_group": _AGE_GROUPS[age[number]]}
            if said := _GENDERS[gender[number]]:
                attributes["gender"] = said
            attributes |= {"country": name, "languages": languages}
            attributes["interests"] = tuple(catalogue.categories[theme] for theme in themes[number, :3])
            users.append(User(f"user-{number + 1:04d}", attributes))
        return cls(
            users=tuple(users),
            taste=taste,
            era=_YEAR_AT_20[age] + _ERA_SPREAD_YEARS * draws.normal(size),
            domain=_DOMAIN_BY_AGE[age] + _DOMAIN_SPREAD * draws.normal(size, len(DOMAINS)),
            creators=creators,
            utc_offset_s=np.array([hours * 3600 for _, _, hours, _ in _COUNTRIES])[country],
            reads_chinese=np.array([language == "Chinese" for _, _, _, language in _COUNTRIES])[country],
        )


def _draw_tastes(size: int, catalogue: Catalogue, draws: Draws) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Tastes `(2, size, c)` and the favourite themes `(size, themes)` of the first, strongest first."""
    rows = np.arange(size)
    common = np.log((catalogue.features > 0).sum(axis=0))

    def pick(allowed: NDArray[np.bool_], like: NDArray[np.float64], taken: NDArray[np.bool_]) -> NDArray[np.intp]:
        logits = common + _COHERENCE * (like @ catalogue.affinity)
        return draws.choice(np.where(allowed & ~taken, logits, -np.inf))

    like = np.zeros((size, len(catalogue.categories)))
    taken = np.zeros(like.shape, np.bool_)
    themes = np.zeros((size, len(_THEME_WEIGHTS)), np.intp)
    for place, weight in enumerate(_THEME_WEIGHTS):
        themes[:, place] = pick(catalogue.shared, like, taken)
        like[rows, themes[:, place]] = weight
        taken[rows, themes[:, place]] = True
    disliked = pick(catalogue.shared, -like, taken)  # what goes least with the rest
    taken[rows, disliked] = True
    later_theme = pick(catalogue.shared, like, taken)
    later = like.copy()
    later[rows, themes[:, -1]] = 0
    later[rows, later_theme] = _THEME_WEIGHTS[0]
    for which in range(len(DOMAINS)):
        forms = catalogue.categories_of_domain[which] & ~catalogue.shared
        for place in range(min(_FORMS_A_DOMAIN, int(forms.sum()) - 1)):
            form, later_form = pick(forms, like, taken), pick(forms, later, taken)
            like[rows, form] = later[rows, form if place == 0 else later_form] = _FORM_WEIGHT
            taken[rows, form] = True
    like[rows, disliked] = later[rows, disliked] = _DISLIKE_WEIGHT
    return np.stack([like, later]), themes
