"""Is a sentence English? What a model writes of feedback in any language is to be.

By script and by words: a sentence is taken for another language where a third of its letters are not Latin, or where
at least two of its words plainly belong to other languages (their commonest small words, and any word with a letter
that English does not have) and those are more than the small words of English in it. One such word alone tells nothing:
"Dropped café mug." and "Rolled die." are English. So "Slow approach." passes, and so does a short sentence of another
language with one word of these or none.
"""

from __future__ import annotations

import re

_LETTER = re.compile(r"[^\W\d_]")
_NOT_LATIN = re.compile(r"[^\W\d_\u0041-\u024f\u1e00-\u1eff]")
_WORD = re.compile(r"[^\W\d_]+")
_OTHER_LETTER = re.compile(r"[^\x00-\x7f\u00b5\u03bc\u00ba]")  # but for signs of units: micro, twice, and a degree
_SMALL_WORDS = """
the an it its this that these those he she they them his her their there and or but not nor never neither no of to in on
at by for from into onto off out over under with without as than then when while which who what how after before until
because is was were be been being are has had have did does do could would should can cannot will too very so again only
just all both any some more most one two
"""
# German (two lines), then a line each: French, Spanish, Italian, Portuguese, Dutch, the Scandinavian languages, Polish,
# Turkish and Romanian. None is an English word that may be said of robots: so no hat, war, pour, son, plus, met, van,
# ale, til or en (route). The one exception is die, which German cannot do without; alone it makes no sentence German.
_OTHER_SMALL_WORDS = """
er ihn der die das den dem des ein eine einen einem
und ist nicht wurde mit von auf zu sich vom zum nach aber sehr kein noch um
le la les un une du et est pas ne dans sur avec il elle qui que au aux se ce cette sa ses mais
el los las y del al lo su por para muy pero fue como cuando hasta una
gli di della che ha sulla sul nel nella dalla alla molto stato
o uma da dos das na nos nas com foi ao em mas muito pelo pela seu sua
de het een niet naar voor maar te zijn wordt werd bij heeft deze dit dat ook
och att det som inte av ikke og af har med blev ble
nie jest od po przez ze
ve bir ile
nu si
"""
_ENGLISH = frozenset(_SMALL_WORDS.split())
_OTHER = frozenset(_OTHER_SMALL_WORDS.split())


def is_english(text: str) -> bool:
    """Is the text English, as far as script and small words tell? True for a text without letters."""
    letters = len(_LETTER.findall(text))
    if 3 * len(_NOT_LATIN.findall(text)) > letters:
        return False
    words = _WORD.findall(text.lower())
    other = sum(word in _OTHER or _OTHER_LETTER.search(word) is not None for word in words)
    return other < 2 or other <= sum(word in _ENGLISH for word in words)
