"""`MarkupReader`: text as language models write it in, text as a person reads it aloud out.

Markdown, HTML tags, emoji and separators are not spoken; titles, list items and table rows end as
sentences, code blocks are announced. What comes out depends on the text alone, never on how it was
cut into pushes, and each code point keeps its place in the text as given.

It decides by what stands next to a mark, not by pairs of marks, so that words come out as soon as
they come in. A line is looked at in two steps: `LINE` tells by its beginning what block it is,
`INLINE` what each mark within it is. The patterns `..._BEGUN` tell what more text could change.
What waits for that is at most `_LONGEST` code points (a link's address, a comment, a tag),
`_LONGEST_HEAD` at the beginning of a line, and else a few.

The Markdown parsers that exist (markdown-it-py, mistune) need the whole text and keep no positions.
"""

from __future__ import annotations

import html
import re
from enum import Enum, auto
from typing import Literal

from voiced.reading import grammar
from voiced.reading.phonemes import GIVEN
from voiced.reading.transcript import Reading, Transcript

CodeReading = Literal["announce", "skip"]

_LONGEST = 500  # code points; web addresses with tracking or search tokens have some 300
_LONGEST_HEAD = 64  # code points; what begins a line is shorter, and a longer rule is clear by then

_CODE_BLOCK = {
    "ar": "كتلة برمجية.",
    "ca": "Bloc de codi.",
    "cs": "Blok kódu.",
    "da": "Kodeblok.",
    "de": "Codeblock.",
    "el": "Μπλοκ κώδικα.",
    "en": "Code block.",
    "es": "Bloque de código.",
    "fi": "Koodilohko.",
    "fr": "Bloc de code.",
    "hi": "कोड ब्लॉक।",
    "hu": "Kódblokk.",
    "it": "Blocco di codice.",
    "ja": "コードブロック。",
    "ko": "코드 블록.",
    "nb": "Kodeblokk.",
    "nl": "Codeblok.",
    "no": "Kodeblokk.",
    "pl": "Blok kodu.",
    "pt": "Bloco de código.",
    "ro": "Bloc de cod.",
    "ru": "Блок кода.",
    "sv": "Kodblock.",
    "tr": "Kod bloğu.",
    "uk": "Блок коду.",
    "vi": "Khối mã.",
    "zh": "代码块。",
}


class _Mode(Enum):
    LINE_START = auto()
    TEXT = auto()
    CODE = auto()  # between backticks
    RULE = auto()  # in a separator, which may be longer than what is looked at
    SKIP = auto()  # to the end of the line


class _Block(Enum):
    """What the line is part of; the values are names of groups of `LINE`."""

    NONE = "blank"
    TEXT = "text"
    ITEM = "item"
    HEADING = "heading"
    ROW = "row"


_BLOCKS = {block.value: block for block in _Block}


class MarkupReader:
    """Push text as it comes, flush where it must be spoken as it stands; both return a `Reading`.

    All readings together are the spoken text. `language` is a BCP-47 tag, for the announcement of
    a code block; `code` tells whether there is one. With `keeps_phonemes`, words that phonemes are
    given for stay as they are written, `[word](/phonemes/)`; without, they are read as a link is.
    """

    def __init__(
        self,
        *,
        language: str | None = None,
        code: CodeReading = "announce",
        keeps_phonemes: bool = False,
    ) -> None:
        primary = re.split("[-_]", language or "en")[0].lower()
        self._announcement = _CODE_BLOCK.get(primary, _CODE_BLOCK["en"])
        self._code = code
        self._keeps_phonemes = keeps_phonemes
        self._transcript = Transcript()
        self._text = "\n"  # what is undecided, after one code point to look back at
        self._at = 1  # up to where it is decided
        self._offset = -1  # of _text in all that was pushed
        self._mode = _Mode.LINE_START
        self._block = _Block.NONE
        self._is_quoted = False
        self._fence: str | None = None  # what opened the code block
        self._is_flushing = False

    def push(self, text: str) -> Reading:
        """Append text and return what is decided by now."""
        self._text += text
        self._read()
        return self._transcript.take()

    def flush(self) -> Reading:
        """Decide all text so far as if it ended here; more may be pushed."""
        self._is_flushing = True
        self._read()
        self._is_flushing = False
        self._transcript.flush(ends_sentence=self._block not in (_Block.NONE, _Block.TEXT))
        return self._transcript.take()

    def _read(self) -> None:
        while self._at < len(self._text) and (end := self._read_next()) is not None:
            self._at = end
        self._text = self._text[self._at - 1 :]
        self._offset += self._at - 1
        self._at = 1

    def _read_next(self) -> int | None:
        """Read one thing and return where it ends, None where more text could change it."""
        if self._mode is _Mode.LINE_START:
            if self._fence is None:
                return self._begin_line()
            return self._begin_line_of_code(self._fence)
        if self._text[self._at] == "\n":
            return self._end_line()
        if self._mode is _Mode.SKIP:
            end = self._text.find("\n", self._at)
            return end if end >= 0 else len(self._text)
        return self._read_inline()

    def _waits(self, begun: re.Pattern[str], longest: int) -> bool:
        """Tell whether more text could change what stands next."""
        if self._is_flushing or len(self._text) - self._at >= longest:
            return False
        return begun.match(self._text, self._at) is not None

    # -------------------------------------------------------------------------------------- lines

    def _begin_line(self) -> int | None:
        if self._waits(grammar.LINE_BEGUN, _LONGEST_HEAD):
            return None
        line = grammar.LINE.match(self._text, self._at, self._at + _LONGEST_HEAD)
        assert line is not None  # the last of its cases is empty
        block = _BLOCKS.get(line.lastgroup or "", _Block.NONE)
        self._join_blocks(block, is_quoted=bool(line["quote"]))
        self._mode = _Mode.TEXT
        if line.lastgroup == "rule":
            self._mode = _Mode.RULE
        elif line.lastgroup == "definition":
            self._mode = _Mode.SKIP
        elif line.lastgroup == "fence":
            self._mode = _Mode.SKIP
            self._fence = line["mark"]
            self._announce(line)
        return line.end()

    def _join_blocks(self, block: _Block, *, is_quoted: bool) -> None:
        """End what the line before belongs to, or let it go on."""
        is_same = is_quoted == self._is_quoted
        if block is _Block.TEXT and self._block in (_Block.TEXT, _Block.ITEM) and is_same:
            self._transcript.go_on()
            return
        is_next = block is self._block and block in (_Block.ITEM, _Block.ROW)
        self._transcript.end(1 if is_next else 2)
        self._block = block
        self._is_quoted = is_quoted

    def _announce(self, fence: re.Match[str]) -> None:
        if self._code == "announce":
            start, end = (self._offset + at for at in fence.span("fence"))
            self._transcript.replace(self._announcement, start, end)
            self._transcript.end(2)

    def _begin_line_of_code(self, fence: str) -> int | None:
        if self._waits(grammar.FENCE_END_BEGUN, _LONGEST_HEAD):
            return None
        line = grammar.FENCE_END.match(self._text, self._at, self._at + _LONGEST_HEAD)
        if line is not None and line["mark"].startswith(fence):
            self._fence = None
        self._mode = _Mode.SKIP
        return self._at

    def _end_line(self) -> int:
        self._mode = _Mode.LINE_START
        self._transcript.newline(self._offset + self._at)
        if self._block is _Block.HEADING:
            self._transcript.end(2)
        elif self._block is _Block.ROW:
            self._transcript.end(1)
        return self._at + 1

    # ------------------------------------------------------------------------------- within a line

    def _read_inline(self) -> int | None:
        text, at = self._text, self._at
        if self._mode is _Mode.RULE:
            if rule := grammar.RULE.match(text, at):
                return rule.end()
            self._mode = _Mode.TEXT
        if words := (grammar.PLAIN if self._mode is _Mode.TEXT else grammar.CODE).match(text, at):
            self._transcript.keep(words[0], self._offset + at)
            return words.end()
        if spaces := grammar.SPACES.match(text, at):
            self._transcript.space(spaces[0], self._offset + at)
            return spaces.end()
        if self._keeps_phonemes and text[at] == "[":
            if self._waits(grammar.PHONEMES_BEGUN, _LONGEST):
                return None
            if given := GIVEN.match(text, at):
                self._transcript.keep(given[0], self._offset + at)
                return given.end()
        if self._waits(grammar.INLINE_BEGUN, _LONGEST):
            return None
        mark = grammar.INLINE.match(text, at, at + _LONGEST)
        assert mark is not None  # its last case is any code point
        self._read_mark(mark)
        return mark.end()

    def _read_mark(self, mark: re.Match[str]) -> None:
        start, end = self._offset + mark.start(), self._offset + mark.end()
        match mark.lastgroup:
            case "keep" | "escaped" | "address" | "other" as kind:
                self._transcript.keep(mark[kind], self._offset + mark.start(kind))
            case "entity":
                self._transcript.replace(html.unescape(mark[0]), start, end)
            case "cut":
                self._transcript.cut()
            case "pause":
                self._transcript.pause()
            case "code":
                self._mode = _Mode.TEXT if self._mode is _Mode.CODE else _Mode.CODE
            case "br":
                self._transcript.break_line(start, end)
            case "block":
                self._transcript.end(2)
            case "column" | "pipe" | "hash":
                self._read_mark_of_block(mark[0], start, is_column=mark.lastgroup == "column")

    def _read_mark_of_block(self, sign: str, at: int, *, is_column: bool) -> None:
        """Read what means something only in a table or a title."""
        if is_column and self._block is _Block.TEXT:
            self._block = _Block.ROW  # of a table without outer pipes
        if is_column or (sign == "|" and self._block is _Block.ROW):
            self._transcript.pause()
        elif sign == "|" or self._block is not _Block.HEADING:
            self._transcript.keep(sign, at)
