r"""The patterns that `MarkupReader` reads by; the name of the group that matches says what to do.

Each `..._BEGUN` matches what, at the end of the text, more text could make another thing; its `\Z`
is where the text ends by now. None can take more than linear time: what repeats either begins
unlike what follows it or is possessive.
"""

from __future__ import annotations

import re

from voiced.reading.transcript import WIDEST_SPACE

_H = r"[^\S\n]"  # white space within a line

# Emoji, dingbats, arrows, boxes and geometric shapes, with the keycap and the tags that follow some
# of them; without the musical signs and the digits in circles among them, which are read.
_DECORATION = (
    "\u2022\u2023\u2043\u20e3\u2139\u2190-\u21ff\u2300-\u23ff\u2500-\u266c\u2670-\u2775\u2794-\u27bf"
    "\u27f0-\u27ff\u2900-\u297f\u2b00-\u2bff\u3030\U0001f000-\U0001fbff\U000e0020-\U000e007f"
)
_VARIATION = "\ufe0e\ufe0f"
_JOINER = "\u200d"

# ------------------------------------------------------------------------ the beginning of a line

_RULE = r"\-=|:+*_.·•–—\u2500-\u257f\u2580-\u259f"
_BULLET = r"[\-*+•·–—]"

LINE = re.compile(
    rf"""
    (?P<quote> (?: {_H}* > (?: {_H} | (?=[\n>]|\Z) ) )* )
    (?: (?P<blank> {_H}* (?=\n) )
      | (?P<rule> {_H}* (?: [{_RULE}] {_H}* ){{2,}} (?=\n|\Z) )
      | {_H}* (?P<heading> \#{{1,6}} (?: {_H}+ | (?=\n|\Z) ) )
      | {_H}* (?P<fence> (?P<mark> `{{3,16}} | ~{{3,16}} ) (?![`~]) [^`\n]{{0,40}} (?=\n|\Z) )
      | {_H}* (?P<item> (?: {_BULLET} {_H}+ )+ (?: \[[ xX]\] {_H}+ )?
                      | {_BULLET} (?=\n|\Z)
                      | \[\^[^\]\s]+\]: {_H}*
                      | (?= \d{{1,3}} (?: [.)](?=\s|\Z) | 、 | \ufe0f?\u20e3 ) | [{_DECORATION}] ) )
      | {_H}* (?P<definition> \[[^\]\n]+\]: {_H}* <? (?: https?: | mailto: | www\. | [/.\#] ) )
      | {_H}* (?P<row> \| )
      | (?P<text>)
    )
    """,
    re.VERBOSE,
)
LINE_BEGUN = re.compile(
    rf"""
    (?: {_H}* > )* {_H}*
    (?: (?: [{_RULE}] {_H}* )* (?: \[[ xX]?\]? {_H}* )?
      | \#{{1,6}} {_H}*
      | `{{1,2}} | ~{{1,2}} | `{{3,16}} [^`\n]{{0,40}} | ~{{3,16}} [^`\n]{{0,40}}
      | \d{{1,3}} [.)]? \ufe0f?
      | \[ [^\]\n]* (?: \] (?: : {_H}* <? [a-z]{{0,6}} )? )?
    ) \Z
    """,
    re.VERBOSE,
)
RULE = re.compile(rf"(?: [{_RULE}] | {_H} )+", re.VERBOSE)
FENCE_END = re.compile(
    rf"(?: {_H} | > )* (?P<mark> `{{3,}} | ~{{3,}} ) {_H}* (?=\n|\Z)", re.VERBOSE
)
FENCE_END_BEGUN = re.compile(rf"(?: {_H} | > )* (?: `* | ~* ) {_H}* \Z", re.VERBOSE)

# ------------------------------------------------------------------------------------ within a line

SPACES = re.compile(rf"{_H}+")
_WORD = rf"[^\s*_~`\\\[\]!<&|#·{_DECORATION}{_VARIATION}{_JOINER}]++"
# Atomic groups, not possessive ones: Python 3.11.2, which Debian 12 has, matches too much by those.
PLAIN = re.compile(rf"{_WORD} (?> (?: {_H}{{1,{WIDEST_SPACE}}}+ {_WORD} )* )", re.VERBOSE)
CODE = re.compile(r"[^\s`]+")

_ENTITIES = "amp lt gt quot apos nbsp ndash mdash hellip".split()
_ENTITIES_BEGUN = sorted({name[:end] for name in _ENTITIES for end in range(len(name) + 1)})
_TAG = r"</? [A-Za-z] [\w\-]{0,20}"
_ATTRIBUTES = rf"(?: {_H}+ [\w:\-]+ = [^<>\n]* )? {_H}* /?"
_COMMENT = r"<!-- (?> (?: [^\-<] | -(?!->) | <(?!!--) )* )"
_LINK = r"\]\( (?> (?: [^()\n] | \( [^()\n]*+ \) )* )"

INLINE = re.compile(
    rf"""
    (?P<keep> (?<=[0-9A-Za-z]) \* (?=[0-9A-Za-z])
            | (?<=[0-9]) \*\* (?=[0-9])
            | (?<=\s) \* (?=\s|\Z)
            | (?<=[^\W_]) _{{1,3}} (?=[^\W_]|[(/])
            | (?<=[/=)]) _{{1,3}} (?=[^\W_])
            | (?<!~) ~ (?!~)
            | \[ [0-9]{{1,3}} \] (?![(\[]) )
  | (?P<pause> [•‣→⇒⟶➔➜➞➡] | (?<=\s) · (?=\s|\Z) )
  | (?P<column> (?<=\s) \| (?=\s|\Z) )
  | (?P<cut> (?<=\s) (?: \*{{2,3}} | _{{1,3}} ) (?=\s|\Z)
           | \*{{4,}} | (?<=\*) \*+ | _{{4,}} | (?<=_) _+
           | \[\^ [^\]\s]{{1,32}} \]
           | {_COMMENT} -->
           | [{_DECORATION}] )
  | \\ (?P<escaped> [!-/:-@\[-`{{-~] )
  | < (?P<address> [A-Za-z] [^\s<>:@]*+ [:@] [^\s<>]*+ ) >
  | (?P<entity> & (?: {"|".join(_ENTITIES)} | \#[0-9]{{1,6}} | \#x[0-9A-Fa-f]{{1,5}} ) ; )
  | (?P<pipe> \| )
  | (?P<hash> (?<=\s) \#{{1,6}} (?= {_H}* (?:\n|\Z) ) )
  | (?P<code> (?<!`) `+ )
  | (?P<br> < br {_ATTRIBUTES} > )
  | (?P<block> </? (?:p|div|section|[uod]l|li|d[td]|h[1-6]|hr|table|tr|blockquote) {_ATTRIBUTES} > )
  | (?P<hide> \*+ | _+ | ~+ | `+
            | {_LINK} \) | \]\[ [^\]\n]{{0,64}} \] | \] | \[
            | (?<![^\s(\[|]) ! (?=\[)
            | {_TAG} {_ATTRIBUTES} >
            | \\ (?=\n)
            | [{_VARIATION}]
            | (?<=[{_DECORATION}{_VARIATION}]) {_JOINER} )
  | (?P<other> . )
    """,
    re.VERBOSE,
)
INLINE_BEGUN = re.compile(
    rf"""
    (?: (?<!\*) \*{{1,3}}
      | (?<!_) _{{1,3}}
      | (?<!~) ~
      | \\
      | \[ (?: \^ [^\]\s]{{0,32}} | [0-9]{{0,3}} \]? )
      | {_LINK} (?: \( [^()\n]*+ )? | \]\[ [^\]\n]{{0,64}} | \]
      | (?<![^\s(\[|]) !
      | </? | {_TAG} (?: {_H}+ [\w:\-]{{1,20}} (?: = [^<>\n]* )? )? {_H}* /?
      | < [A-Za-z] [^\s<>]* | <!-? | {_COMMENT}
      | & (?: {"|".join(_ENTITIES_BEGUN)} | \#[0-9]{{0,6}} | \#x[0-9A-Fa-f]{{0,5}} )
      | (?<=\s) [|·]
      | (?<=\s) \#{{1,6}} {_H}*
    ) \Z
    """,
    re.VERBOSE,
)
# How Kokoro's own tools write the way that words are to be said.
PHONEMES_BEGUN = re.compile(
    r"\[ [^\[\]\n]{0,64} (?: \] (?: \( (?: / [^/()\n]{0,128} /? )? )? )? \Z", re.VERBOSE
)
